//! Settings as a JSON Schema, for editors that complete and check as one types. It says what can be said of one key alone; how keys
//! fit together is for `underpass check`.

use config::Kind;
use serde_json::{Map, Value, json};

use super::{Setting, Settings, full};

pub(super) fn of(settings: &Settings) -> Value {
    let mut schema = table(settings, "");
    let whose = settings.whose.as_str();
    let about = schema.as_object_mut().expect("a table");
    about.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    about.insert("title".to_owned(), json!(format!("Settings of `underpass {whose}`")));
    schema
}

fn table(settings: &Settings, title: &str) -> Value {
    if let Some(kinds) = settings.open.get(title) {
        let values =
            if kinds.is_empty() { json!({ "type": "string" }) } else { any_of(kinds.iter().map(plain).collect()) };
        return json!({ "type": "object", "additionalProperties": values });
    }
    let of_it = || settings.all.iter().filter(|setting| setting.table == title);
    let properties: Map<String, Value> =
        of_it().map(|setting| (setting.key.to_owned(), property(settings, setting))).collect();
    let required: Vec<_> = of_it().filter(|setting| setting.required).map(|setting| setting.key).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn property(settings: &Settings, setting: &Setting) -> Value {
    let kinds: Vec<_> = setting.asked.kinds.iter().map(|kind| of_kind(settings, setting, kind)).collect();
    let one = any_of(kinds);
    let mut property = if setting.asked.list { json!({ "type": "array", "items": one }) } else { one };
    let default = match &setting.default[..] {
        "-" | "required" => String::new(),
        default => format!(" Default: {default}."),
    };
    let about = property.as_object_mut().expect("a schema");
    about.insert("description".to_owned(), json!(format!("{}.{default}", capital(&setting.about))));
    property
}

fn any_of(schemas: Vec<Value>) -> Value {
    match <[Value; 1]>::try_from(schemas) {
        Ok([one]) => one,
        Err(several) => json!({ "anyOf": several }),
    }
}

fn of_kind(settings: &Settings, setting: &Setting, kind: &Kind) -> Value {
    match kind {
        Kind::Table => table(settings, &full(&setting.table, setting.key)),
        Kind::Tables => json!({ "type": "array", "items": table(settings, &full(&setting.table, setting.key)) }),
        Kind::Text(_) | Kind::Words(_) | Kind::Boolean | Kind::Integer(..) | Kind::Float(..) | Kind::Duration(..) => {
            plain(kind)
        }
    }
}

/// What is no table of settings.
fn plain(kind: &Kind) -> Value {
    match kind {
        Kind::Text(form) if form == "Name" => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" }),
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Words(words) => json!({ "enum": words }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(first, last) => json!({ "type": "integer", "minimum": first, "maximum": last }),
        Kind::Float(first, last) => json!({ "type": "number", "minimum": first, "maximum": last }),
        Kind::Duration(..) => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Kind::Table => json!({ "type": "object" }),
        Kind::Tables => json!({ "type": "array", "items": { "type": "object" } }),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}
