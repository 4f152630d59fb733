//! Settings as a page for people.

use config::{Kind, spell};

use super::{Setting, Settings, Whose};

const HEAD: &str = "\
# Configuration

Every setting of both files: what it may be, its default, whether a reload changes it, and what it does. This page is made of the checks that
read the files and of `docs/configuration.toml`; a test compares it. What settings do together, and the behaviour behind them, is in
`docs/operating.md`; `examples/edge.toml` and `examples/connector.toml` show each.

Unknown keys are mistakes. Durations are a whole number and a unit: `250ms`, `5s`, `30m`, `23h`, `7d`. Names are 1 to 63 of `a-z`, `0-9` and `-`, and do
not begin with `-`. Relative paths begin at the file's directory. `underpass check FILE` tells every mistake at once.

**In an editor.** `docs/schema/edge.json` and `docs/schema/connector.json` are JSON Schemas of the files; `underpass check --schema edge` (or `connector`)
prints one. Editors that know TOML by taplo (Even Better TOML among them) complete and check a file that begins with a line such as
`#:schema ./edge.json`. A schema knows each key alone; how keys fit together is known by `underpass check`.
";

pub(super) fn page(both: &[Settings]) -> String {
    let mut page = HEAD.to_owned();
    for settings in both {
        page += match settings.whose {
            Whose::Edge => "\n## The file of an edge\n",
            Whose::Connector => "\n## The file of a connector\n",
        };
        let mut titles: Vec<&str> = settings.all.iter().map(|setting| &setting.table[..]).collect();
        titles.dedup();
        for title in titles {
            page += &heading(settings, title);
            page += "\n| key | may be | default | by a reload | does |\n|---|---|---|---|---|\n";
            settings.all.iter().filter(|setting| setting.table == title).for_each(|setting| page += &row(setting));
        }
    }
    page
}

fn heading(settings: &Settings, title: &str) -> String {
    let is_it = |setting: &&Setting| super::full(&setting.table, setting.key) == title;
    let kinds = settings.all.iter().find(is_it).map(|setting| &setting.asked.kinds);
    match kinds {
        None => "\n### At the top\n".to_owned(),
        Some(kinds) if kinds.contains(&Kind::Tables) => format!("\n### `[[{title}]]`\n"),
        Some(_) => format!("\n### `[{title}]`\n"),
    }
}

fn row(setting: &Setting) -> String {
    let kinds: Vec<_> = setting.asked.kinds.iter().map(words).collect();
    let kinds = kinds.join(", or ");
    let may_be = if setting.asked.list { format!("list of: {kinds}") } else { kinds };
    let by_reload = if setting.restart { "no" } else { "yes" };
    let Setting { key, default, about, .. } = setting;
    format!("| `{key}` | {may_be} | {default} | {by_reload} | {about} |\n")
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => match &form[..] {
            "Name" => "a name".to_owned(),
            "Target" => "`HOST:PORT`".to_owned(),
            "LogFilter" => "a level or a filter".to_owned(),
            "AllowEntry" => "`CIDR:PORTS`".to_owned(),
            "a string" => "text".to_owned(),
            form => form.to_owned(),
        },
        Kind::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Boolean => "`true`, `false`".to_owned(),
        Kind::Integer(first, last) => format!("{first} to {last}"),
        Kind::Float(first, last) => format!("{first:?} to {last:?}"),
        Kind::Duration(first, last) => format!("`{}` to `{}`", spell(*first), spell(*last)),
        Kind::Table => "a table".to_owned(),
        Kind::Tables => "list of tables".to_owned(),
    }
}
