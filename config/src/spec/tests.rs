use proptest::prelude::*;

use super::*;
use crate::Named;

fn toml(text: &str) -> Spec {
    Spec::of_toml(text, Path::new("f.toml"))
}

/// What is wrong with settings that are some `thing`s with a number, and a `flag`.
fn told(spec: &Spec) -> Vec<String> {
    let result = spec.check(|root| {
        root.or("flag", false, |v| v.boolean());
        root.or("wait", "1s".to_owned(), |v| v.string().map(|at| at.value.to_owned()));
        let things = Named::<String, u8>::read(root, "thing", "thing", |t, name| {
            let number = t.required("number", "a whole number").and_then(|v| v.integer(0..=9));
            t.table("headers", |h| h.entries().iter().filter_map(|(_, _, value)| value.any_string()).count());
            t.or("list", 0, |v| Some(v.items()?.iter().filter_map(|i| i.integer::<u8>(0..=9)).count()));
            name.and(number)
        });
        things.all()
    });
    match result {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn an_object_is_checked_like_a_file_and_mistakes_point_into_it() {
    let json = r#"{"flag": "yes", "thing": [{"name": "a", "number": 10}, {"nme": "b", "list": [1, 10, null]},
                   {"name": "a", "number": 1, "headers": {"x/~": 1}}]}"#;
    let expected = [
        "api#/flag: `flag` must be true or false, found the string \"yes\"",
        "api#/thing/0/number: `number` must be a whole number from 0 to 9, found the integer 10",
        "api#/thing/1: `name` is missing in `thing`: what others call it",
        "api#/thing/1: `number` is missing in `thing`: a whole number",
        "api#/thing/1/nme: unknown key `nme` in `thing`; did you mean `name`",
        "api#/thing/1/list/1: `list` must be a whole number from 0 to 9, found the integer 10",
        "api#/thing/1/list/2: `list` must be a whole number from 0 to 9, found null",
        "api#/thing/2/name: `name` \"a\" is taken by the thing of /thing/0/name",
        "api#/thing/2/headers/x~1~0: `x/~` must be a string, found the integer 1",
    ];
    assert_eq!(told(&Spec::of_json(json, "api")), expected);
    assert_eq!(told(&Spec::of_json("{}", "api")), Vec::<String>::new());
}

#[test]
fn what_is_no_object_says_where_it_breaks() {
    for (json, expected) in [
        ("{\"flag\": tru}", "api:1:13: not JSON: expected ident"),
        ("{\n\"flag\": true,\n\"flag\": 1}", "api:3:6: not JSON: duplicate key `flag`; a key is given once"),
        ("[]", "api:1:1: must be an object in { }"),
        ("{", "api:1:1: not JSON: EOF while parsing an object"),
        ("{\"flag\": 1e999}", "api:1:14: not JSON: number out of range"),
    ] {
        assert_eq!(told(&Spec::of_json(json, "api")), [expected], "{json}");
    }
    let long = format!("{{\"wait\": \"{}\"}}", "x".repeat(1024 * 1024));
    assert_eq!(
        told(&Spec::of_json(&long, "api")),
        ["api:1:1: is longer than 1 MiB, the most a configuration may have"]
    );
    let deep = format!("{{\"flag\": {}", "[".repeat(100_000));
    assert!(told(&Spec::of_json(&deep, "api"))[0].contains("recursion limit"));
}

#[test]
fn objects_join_a_file_and_each_mistake_says_whose_it_is() {
    let file = toml("flag = true\n[[thing]]\nname = \"a\"\nnumber = 1\n");
    let right = Spec::of_one("thing", r#"{"name": "b", "number": 2}"#, "thing b");
    assert_eq!(told(&file.clone().and(right.clone())), Vec::<String>::new());
    let both = toml("flag = true\nthing = [{ name = \"a\", number = 1 }, { name = \"b\", number = 2 }]");
    assert_eq!(file.clone().and(right.clone()), both);

    let wrong = Spec::of_one("thing", r#"{"name": "a", "number": 10, "x": 1}"#, "thing a");
    let other = Spec::of_json("{\"flag\": false, \"wait\": 1}", "api");
    let expected = [
        "thing a#/name: `name` \"a\" is taken by the thing of f.toml, line 3",
        "thing a#/number: `number` must be a whole number from 0 to 9, found the integer 10",
        "thing a#/x: unknown key `x` in `thing`; known: `headers`, `list`, `name`, `number`",
        "api#/flag: `flag` is given twice, first in f.toml, line 1",
        "api#/wait: `wait` must be a string, found the integer 1",
    ];
    assert_eq!(told(&file.clone().and(right).and(wrong.and(other))), expected);

    // What cannot be read of one leaves what is certain in the others.
    let torn = Spec::of_one("thing", "{\"name\"", "thing c");
    assert_eq!(
        told(&toml("flag = 1\nnumber = 1").and(torn)),
        [
            "f.toml:1:8: `flag` must be true or false, found the integer 1",
            "f.toml:2:1: unknown key `number`; known: `flag`, `thing`, `wait`",
            "thing c:1:7: not JSON: EOF while parsing an object",
        ]
    );
}

#[test]
fn settings_are_written_in_the_words_of_a_file() {
    let text =
        "flag = true\nshare = 1.5\n\n[[thing]]\nname = \"a\"\nnumber = 1\n\n[thing.headers]\nb = \"1\"\na = \"2\"\n";
    assert_eq!(toml(text).to_toml(), text, "keys keep their order");
    assert_eq!(toml("a = [1]\nb.c = 0x10").to_json(), "{\n  \"a\": [\n    1\n  ],\n  \"b\": {\n    \"c\": 16\n  }\n}");
    // What one of the two cannot say is no setting.
    let odd = toml("a = 1979-05-27\nb = nan\nc = 123456789012345678901234567890\nd = 1e999");
    let odd = odd.and(Spec::of_json("{\"e\": null, \"f\": [null], \"g\": 18446744073709551615}", "api"));
    let again = Spec::of_json(&odd.to_json(), "api");
    assert_eq!(again.to_json(), toml(&odd.to_toml()).to_json());
    assert!(again.to_toml().contains("g = \"18446744073709551615\""));
}

#[test]
fn nothing_is_a_spec() {
    assert_eq!(told(&Spec::default()), Vec::<String>::new());
    assert_eq!(Spec::default().to_toml(), "");
    assert_eq!(Spec::default(), Spec::of_json("{}", ""));
    assert_eq!(
        told(&Spec::default().and(toml("flag = 1"))),
        ["f.toml:1:8: `flag` must be true or false, found the integer 1"]
    );
}

fn word() -> impl Strategy<Value = Word> {
    let leaf = prop_oneof![
        "\\PC{0,8}".prop_map(Word::Text),
        any::<i64>().prop_map(|number| Word::Integer(number.to_string())),
        any::<f64>()
            .prop_filter("JSON has no other", |number| number.is_finite())
            .prop_map(|n| Word::float(&n.to_string())),
        any::<bool>().prop_map(Word::Truth),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| Word::List(list.into_iter().map(node).collect())),
            entries(inner).prop_map(Word::Table),
        ]
    })
}

fn node(word: Word) -> Node {
    Node { place: At(0), word }
}

fn entries(words: impl Strategy<Value = Word>) -> impl Strategy<Value = Entries> {
    let table = proptest::collection::btree_map("\\PC{0,6}", words, 0..4);
    let entry = |(key, word)| Entry { place: At(0), key, node: node(word) };
    table.prop_map(move |table| Entries(table.into_iter().map(entry).collect()))
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(root in entries(word())) {
        let spec = Spec { root, ..Spec::default() };
        prop_assert_eq!(&Spec::of_json(&spec.to_json(), "api"), &spec);
        let (text, again) = (spec.to_toml(), toml(&spec.to_toml()));
        prop_assert!(again.unread.is_empty(), "{}", text);
        prop_assert_eq!(again, spec);
    }

    #[test]
    fn no_object_panics(text in "\\PC*|[\\[\\]{}:,\"a-c0-9\\\\ \n]{0,200}") {
        let _ = told(&toml("flag = 1").and(Spec::of_one("thing", &text, "api")));
    }
}
