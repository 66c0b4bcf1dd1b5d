//! Expressions: what they mean, and what they refuse.

use serde_json::{Value, json};

use super::{Expression, ITEM_NAMES, MAX_LENGTH};

fn value(text: &str) -> Result<Value, String> {
    let output = json!({
        "n": 91, "f": 2.5, "s": "hello", "yes": true, "none": null, "list": [3, 1, 2],
        "deep": {"er": {"k": [1, {"x": "y"}]}}, "at": "2026-01-31T12:00:00.5+01:00",
        "big": 18_446_744_073_709_551_615_u64,
    });
    let inputs = json!({"who": "me", "list": ["a", "b"]});
    let response = json!({"status_code": 200, "body": {"score": 80}, "status": "success"});
    let run = json!({"id": "r", "tag": "t"});
    let expression =
        Expression::parse_with(text, &ITEM_NAMES).map_err(|error| error.to_string())?;
    let nodes = |id: &str| (id == "web" || id == "a-b").then_some(&response);
    expression.evaluate_in(&super::Context {
        variables: &[("output", &output), ("inputs", &inputs), ("run", &run)],
        nodes: Some(&nodes),
    })
}

#[test]
fn expressions_have_the_values_of_cel() {
    for (text, expected) in [
        // JSON integers are integers.
        ("output.n / 2", json!(45)),
        ("output.n % 2 == 1", json!(true)),
        ("output.n * 1.5", json!(136.5)),
        ("output.f >= 2", json!(true)),
        ("$.n == 91.0", json!(true)),
        ("output.n > 5 && output.s == 'hello'", json!(true)),
        ("$.deep.er.k[1].x", json!("y")),
        ("output['deep'].er", json!({"k": [1, {"x": "y"}]})),
        ("has(output.n) && !has(output.zz)", json!(true)),
        ("output.yes ? 'a' : 'b'", json!("a")),
        ("1 in output.list", json!(true)),
        ("'n' in output", json!(true)),
        ("size(output.list) + size('äö') + size({'a': 1})", json!(6)),
        ("output.list.map(x, x * 2)", json!([6, 2, 4])),
        ("output.list.filter(x, x > 1)", json!([3, 2])),
        ("output.list.map(x, x > 1, x * 10)", json!([30, 20])),
        ("output.list.all(x, x > 0)", json!(true)),
        ("output.list.exists(x, x == 2)", json!(true)),
        ("output.list.exists_one(x, x > 1)", json!(false)),
        ("output.deep.exists(k, k == 'er')", json!(true)),
        (
            "output.s.startsWith('he') && output.s.endsWith('lo') && output.s.contains('ell')",
            json!(true),
        ),
        ("output.s.matches('^h.*o$')", json!(true)),
        ("output.s.upperAscii() + '!'", json!("HELLO!")),
        ("'a,b'.split(',')", json!(["a", "b"])),
        ("['a', 'b'].join('-')", json!("a-b")),
        ("'hello'.substring(1, 3)", json!("el")),
        ("'aXbX'.replace('X', '')", json!("ab")),
        ("int('5') + int(2.9)", json!(7)),
        ("string(5) + string(true)", json!("5true")),
        ("double('1.5')", json!(1.5)),
        ("type(output.list)", json!("list")),
        ("[1, 2] + [3]", json!([1, 2, 3])),
        ("{'a': output.n, 'b': [1]}", json!({"a": 91, "b": [1]})),
        ("[1, 2] == output.list.filter(x, x != 3)", json!(true)),
        ("output.none == null", json!(true)),
        ("1 == 'x'", json!(false)),
        ("ctx.web.body.score", json!(80)),
        // What a response lacks is looked for in its body.
        ("ctx.web.score >= 80", json!(true)),
        ("ctx['a-b'].score", json!(80)),
        ("$nodes.a-b.score == 80", json!(true)),
        ("has(ctx.web) && !has(ctx.other)", json!(true)),
        ("$inputs.who == inputs.who", json!(true)),
        ("'$.n'", json!("$.n")),
        ("run.id + run.tag", json!("rt")),
        (
            "timestamp(output.at) - duration('1h30m')",
            json!("2026-01-31T09:30:00.5Z"),
        ),
        (
            "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') > duration('23h')",
            json!(true),
        ),
        ("duration('90s')", json!("90s")),
        // What decides counts, even if the other side has no value.
        ("true || output.zz", json!(true)),
        ("output.zz || true", json!(true)),
        ("output.zz && false", json!(false)),
        ("-output.n", json!(-91)),
        ("sum([1, 2.5])", json!(3.5)),
        ("max(output.list) - min(output.list)", json!(2)),
        ("output.big > 1.0", json!(true)),
        ("output.list[0] == output.list[int('0')]", json!(true)),
        ("1 /* no comment */", Value::Null),
    ] {
        if expected.is_null() {
            assert!(value(text).is_err(), "{text}");
        } else {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (text, why) in [
        ("output.zz", "there is no field `zz`"),
        ("output.s.zz", "string has no field `zz`"),
        ("output.n / 0", "division by zero"),
        ("9223372036854775807 + 1", "overflow"),
        ("output.s > 1", "cannot be compared"),
        ("output.s + 1", "does not take"),
        ("output.list[7]", "no such element"),
        ("!output.n", "does not take"),
        ("output.n ? 1 : 2", "not true or false"),
        ("ctx", "as a whole"),
        ("ctx.nobody", "there is no field `nobody`"),
        ("item", "has no value here"),
        ("output.n.map(x, x)", "a list or a map is needed"),
        ("output.list.exists(x, x.y)", "has no field"),
        ("1.0 / 0.0", "no JSON number"),
        ("timestamp('x')", "RFC 3339"),
    ] {
        let error = value(text).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn the_budget_holds() {
    let list: Vec<u32> = (0..5_001).collect();
    let output = json!({"list": list, "text": "x".repeat(1 << 20)});
    for text in [
        "output.list.map(x, x).map(x, x)",
        "output.list.map(x, output.text + output.text)",
        "output.list.map(x, output.text)",
        "output.list.map(x, x in output.list)",
        "['aaaaaaaa'].map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a)",
    ] {
        let expression = Expression::parse(text).expect("it is one");
        let begun = std::time::Instant::now();
        let result = expression.evaluate(&[("output", &output)]);
        let error = result.map(|_| ()).expect_err(text);
        assert!(
            error.contains("too much") || error.contains("more than"),
            "{error}"
        );
        assert!(
            begun.elapsed().as_secs() < 5,
            "{text}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn deep_and_long_ones_are_refused_on_a_small_stack() {
    let texts = [
        "(".repeat(1000) + "1" + &")".repeat(1000),
        "[".repeat(1000),
        "!".repeat(2000) + "true",
        "-".repeat(2000) + "1",
        "- ".repeat(1000) + "1",
        "true ? 1 : ".repeat(150) + "2",
        "output".to_owned() + &".a".repeat(1000),
        "1".to_owned() + &"+1".repeat(1000),
        "f(".repeat(600),
        "{1:".repeat(600),
        "a.b(".repeat(400),
        "x".repeat(MAX_LENGTH + 1),
    ];
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let tried = small.spawn(move || {
        for text in texts {
            let error = Expression::parse(&text).expect_err("it is too much");
            assert!(error.column > 0, "{error}");
        }
        // As deep as may be.
        for text in [
            "(".repeat(12) + "output.a" + &")".repeat(12),
            "output".to_owned() + &".a".repeat(60),
            "1".to_owned() + &"+1".repeat(60),
            "!".repeat(12) + "true",
            "true ? 1 : ".repeat(12) + "2",
            "output.a == 1".to_owned() + &" || output.a == 2".repeat(100),
        ] {
            let expression = Expression::parse(&text).expect("it is not too much");
            let _value = expression.evaluate(&[("output", &json!({"a": 1}))]);
        }
    });
    tried
        .expect("it starts")
        .join()
        .expect("it does not overflow");
}

#[test]
fn columns_are_those_of_the_text_as_it_was_given() {
    for (text, column) in [
        ("1 +", 4),
        ("$.a +", 6),
        ("$nodes.a-b.x ++", 15),
        ("output.x == unknown", 13),
        ("ä == ", 1),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.column, column, "{text}: {error}");
    }
}

/// The crate's own evaluator and ours agree, where the language's standard says what an expression means.
#[test]
fn ours_and_the_crates_evaluator_agree() {
    let literal = r#"{"n": 91, "f": 2.5, "s": "hello", "yes": true, "none": null, "list": [3, 1, 2], "deep": {"k": [1, {"x": "y"}]}}"#;
    let output: Value = serde_json::from_str(literal).unwrap();
    let theirs = cel::Program::compile(literal).unwrap();
    let theirs = theirs.execute(&cel::Context::default()).unwrap();
    let numbers = ["output.n", "output.list[0]", "7", "-3", "output.deep.k[0]"];
    let truths = [
        "output.yes",
        "output.n > 5",
        "output.s == 'hello'",
        "false",
        "output.f < 1.0",
        "1 in output.list",
    ];
    let mut texts: Vec<String> = Vec::new();
    for a in numbers {
        for b in numbers {
            for operator in ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">="] {
                texts.push(format!("{a} {operator} {b}"));
            }
        }
    }
    for a in truths {
        for b in truths {
            texts.push(format!("{a} && !({b})"));
            texts.push(format!("({a}) || {b} ? '{}' : \"no\"", 1));
        }
    }
    texts.extend(
        [
            "output.list.map(x, x * 2)",
            "output.list.filter(x, x > 1)",
            "output.list.map(x, x > 1, x + 1)",
            "output.list.all(x, x > 0)",
            "output.list.exists(x, x == 2)",
            "output.list.exists_one(x, x > 2)",
            "size(output.list) + size(output.s) + output.list.size()",
            "output.s.startsWith('he') && output.s.endsWith('lo') && output.s.contains('ll')",
            "has(output.deep) && !has(output.zz)",
            "output.deep.k[1].x + output['s']",
            "[1, 2] + output.list",
            "{'a': output.n, 'b': {'c': [output.f]}}",
            "output.none == null",
            "output.f * 2.0 - 1.5 / 3.0",
            "int('42') + int(2.9)",
            "string(output.n) + string(true)",
            "double('1.5') + double(2)",
            "'a' < 'b' && 'b' in ['a', 'b'] && 's' in output",
            "output.list == [3, 1, 2] && output.deep != {}",
            "output.zz",
            "output.n / 0",
            "output.s + 1",
            "9223372036854775807 + 1",
            "output.zz || true",
            "true || output.zz",
            "false && output.zz",
            "output.list[9]",
            "r'a\\n' + 'a\\n' + \"\"\"b\"c\"\"\"",
            "-output.n + - 2",
            "!output.yes ? 1 : 2",
        ]
        .map(str::to_owned),
    );
    let mut compared = 0;
    for text in &texts {
        let program = cel::Program::compile(text).unwrap();
        let mut context = cel::Context::default();
        context.add_variable_from_value("output", theirs.clone());
        let expected = program.execute(&context);
        let expected = expected.ok().and_then(|value| value.json().ok());
        let expression = Expression::parse(text).unwrap();
        let ours = expression.evaluate(&[("output", &output)]).ok();
        assert_eq!(ours, expected, "{text}");
        compared += usize::from(ours.is_some());
    }
    assert!(compared > 300, "{compared}");
}
