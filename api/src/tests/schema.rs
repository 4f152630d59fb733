//! `docs/schema/status.json` is what the types of a status say of themselves.

use std::{env, fs, path::Path};

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::to_string_pretty;

use crate::Status;

const FILE: &str = "docs/schema/status.json";

/// What `status --json` prints, as a schema. What is said may grow: a reader passes over what it does not know.
fn generated() -> String {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        // What stands for a field that an older version does not send is a reader's matter.
        .with_transform(RecursiveTransform(|schema: &mut Schema| {
            schema.remove("default");
        }));
    let mut schema = settings.into_generator().into_root_schema_for::<Status>();
    schema.insert("title".to_owned(), "What `underpass status --json` prints".into());
    to_string_pretty(&schema).expect("JSON") + "\n"
}

#[test]
fn the_schema_of_a_status_is_the_one_that_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, generated()).expect("it can be written");
    }
    let told = fs::read_to_string(&path).expect("it is there");
    assert!(told == generated(), "{FILE} is not what the types say: look at what UPDATE=1 makes of it with this test");
}
