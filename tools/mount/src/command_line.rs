//! The command line of a mount: short words for its keys, and the server's command after `--`.

use std::ffi::OsString;

use anyhow::{Context as _, bail};

/// The short words, and the key's flag that each stands for.
const SHORT: [(&str, &str); 4] = [
    ("--name", "--mount-name"),
    ("--url", "--mount-url"),
    ("--env", "--mount-env"),
    ("--header", "--mount-headers"),
];

/// The command line with the flags of keys in place of the short words. A word that may be given
/// several times becomes one flag.
///
/// # Errors
/// When a word has no value, or the command is not UTF-8.
pub fn translated(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Vec<OsString>> {
    let mut args = args.into_iter();
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    let (mut env, mut headers) = (Vec::new(), Vec::new());
    while let Some(arg) = args.next() {
        let Some(word) = arg.to_str() else {
            out.push(arg);
            continue;
        };
        if word == "--" {
            let command = args.by_ref().map(|word| word.into_string().ok());
            let command: Option<Vec<String>> = command.collect();
            let command = command.context("the command after `--` is not UTF-8")?;
            if command.is_empty() {
                bail!("`--` is followed by no command");
            }
            out.push("--mount-command".into());
            out.push(joined(&command).into());
            break;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        let Some((name, flag)) = SHORT.iter().find(|(short, _)| *short == name) else {
            out.push(arg);
            continue;
        };
        let value = match value {
            Some(value) => value,
            None => args
                .next()
                .and_then(|value| value.into_string().ok())
                .with_context(|| format!("{name} needs a value"))?,
        };
        match *name {
            "--env" => env.push(config::list_entry(&value)),
            "--header" => headers.push(value),
            _ => out.extend([(*flag).into(), value.into()]),
        }
    }
    for (flag, values, separator) in [
        ("--mount-env", env, ","),
        ("--mount-headers", headers, "\n"),
    ] {
        if !values.is_empty() {
            out.extend([flag.into(), values.join(separator).into()]);
        }
    }
    Ok(out)
}

/// Words as one text that [`split`] takes apart again.
fn joined(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The words of a command as a shell splits it: by white space, but not within quotes. Nothing is
/// expanded. `None` when a quote is not closed.
pub(crate) fn split(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().push(chars.next()?),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &[&str]) -> Vec<String> {
        let args = args.iter().map(OsString::from);
        let out = translated(args).unwrap().into_iter();
        out.map(|it| it.into_string().unwrap()).collect()
    }

    #[test]
    fn short_words_become_the_flags_of_keys() {
        let given = line(&[
            "mcp-mount",
            "--name",
            "fs",
            "--env",
            "A",
            "--port=0",
            "--env=B=1,2",
            "--",
            "npx",
            "-y",
            "it's",
            "--name",
            "",
        ]);
        let expected = [
            "mcp-mount",
            "--mount-name",
            "fs",
            "--port=0",
            "--mount-command",
            r"npx -y 'it'\''s' --name ''",
            "--mount-env",
            r"A,B=1\,2",
        ];
        assert_eq!(given, expected);
        let given = line(&[
            "m",
            "--url",
            "http://h/mcp",
            "--header",
            "A: b",
            "--header",
            "C: d",
        ]);
        let expected = [
            "m",
            "--mount-url",
            "http://h/mcp",
            "--mount-headers",
            "A: b\nC: d",
        ];
        assert_eq!(given, expected);
        for bad in [&["m", "--name"][..], &["m", "--"]] {
            assert!(
                translated(bad.iter().map(OsString::from)).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_command_is_split_as_it_was_joined() {
        for words in [
            &["npx", "-y", "@scope/server", "/tmp/a b"][..],
            &["sh", "-c", "echo \"$A\" 'x' \\ \n"],
            &["", "é"],
        ] {
            let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(split(&joined(&words)), Some(words));
        }
        let words = split(r#"a "b \" c" d\ e"#).unwrap();
        assert_eq!(words, ["a", r#"b " c"#, "d e"]);
        assert_eq!(split("a 'b"), None);
        assert_eq!(split("a\\"), None);
    }
}
