//! The fs tool as its callers see it, over a real socket and a real directory.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{fs, os::unix::fs::symlink};

use proto::agentplatform::{ListToolsRequest, ToolResponse};
use tempfile::TempDir;
use testkit::clients::Tool;

struct Fs {
    tool: Tool,
    out: TempDir,
}

async fn fs_tool() -> Fs {
    let out = TempDir::new().unwrap();
    let later = out.path().join("made/later");
    let set = [("out_dir", later.to_str().unwrap()), ("fs_max_files", "3")];
    let tool = Tool::start(&fs_tool::SPEC, fs_tool::build, &set).await;
    Fs { tool, out }
}

impl Fs {
    async fn ask(&self, run: &str, operation: &str, parameters: &[(&str, &str)]) -> ToolResponse {
        let answer = self.tool.try_call(run, operation, parameters).await;
        answer.unwrap()
    }

    async fn write(&self, path: &str, content: &str) -> ToolResponse {
        self.ask(
            "run-1",
            "file_write_safe",
            &[("path", path), ("content", content)],
        )
        .await
    }

    fn disk(&self, path: &str) -> std::path::PathBuf {
        self.out.path().join("made/later").join(path)
    }
}

#[tokio::test]
async fn what_is_written_is_read_back_and_lies_beneath_the_run() {
    let fs = fs_tool().await;
    assert!(fs.write("drafts/one.md", "erste Fassung").await.success);
    let second = fs.write("drafts/one.md", "zweite").await;
    assert!(second.success, "{}", second.error);
    assert_eq!(
        fs::read_to_string(fs.disk("run-1/drafts/one.md")).unwrap(),
        "zweite"
    );
    let read = fs
        .ask("run-1", "file_read_safe", &[("path", "drafts/one.md")])
        .await;
    assert!(
        read.result.contains(r#""content":"zweite""#),
        "{}",
        read.result
    );
    assert_eq!(read.session_id, "run-1");
    let other = fs
        .ask("run-2", "file_read_safe", &[("path", "drafts/one.md")])
        .await;
    assert!(!other.success && other.error.contains("does not exist in this run"));
    let list = fs.ask("run-1", "file_list", &[]).await;
    assert_eq!(
        list.result,
        r#"{"files":[{"bytes":6,"path":"drafts/one.md"}]}"#
    );
    // No temporary file is left.
    assert_eq!(fs::read_dir(fs.disk("run-1/drafts")).unwrap().count(), 1);
    fs.tool.running.drain().await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_run() {
    let fs = fs_tool().await;
    assert!(fs.write("a.md", "here").await.success);
    let secret = fs.out.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, fs.disk("run-1/link.md")).unwrap();
    symlink(fs.out.path(), fs.disk("run-1/dir")).unwrap();
    symlink(fs.out.path(), fs.disk("run-link")).unwrap();
    for path in [
        "../secret",
        "/etc/passwd",
        "a/../../secret",
        "a\0b",
        ".tmp-1",
        "link.md",
        "dir/secret",
    ] {
        let read = fs.ask("run-1", "file_read_safe", &[("path", path)]).await;
        assert!(
            !read.success && read.result.is_empty(),
            "{path:?}: {}",
            read.result
        );
    }
    for path in ["../x", "/tmp/x", "dir/x", "dir/secret", "a\0b"] {
        assert!(!fs.write(path, "overwritten").await.success, "{path:?}");
    }
    for run in ["..", "", "run-1/..", "run-link", "/"] {
        let written = [("path", "secret"), ("content", "overwritten")];
        let answer = fs.ask(run, "file_write_safe", &written).await;
        assert!(!answer.success, "{run:?}");
    }
    // A link in the file's own place is replaced, and what it led to is left alone.
    assert!(fs.write("link.md", "mine").await.success);
    assert!(
        fs::symlink_metadata(fs.disk("run-1/link.md"))
            .unwrap()
            .is_file()
    );
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    fs.tool.running.drain().await;
}

#[tokio::test]
async fn limits_are_told_with_their_key() {
    let fs = fs_tool().await;
    let most = "x".repeat(256 * 1024);
    assert!(fs.write("a.md", &most).await.success);
    let over = fs.write("a.md", &format!("{most}x")).await;
    assert!(over.error.contains("fs_max_bytes"), "{}", over.error);
    let kept = fs::metadata(fs.disk("run-1/a.md")).unwrap().len();
    assert_eq!(kept, most.len() as u64);
    let line = [("path", "a.md"), ("content", "one more")];
    let over = fs.ask("run-1", "file_append_line", &line).await;
    assert!(over.error.contains("fs_max_bytes"), "{}", over.error);
    assert!(fs.write("b.md", "").await.success && fs.write("c.md", "").await.success);
    let over = fs.write("d.md", "").await;
    assert!(over.error.contains("fs_max_files"), "{}", over.error);
    assert!(fs.write("c.md", "again").await.success);
    fs.tool.running.drain().await;
}

#[tokio::test]
async fn lines_are_appended_once_and_after_a_cut_line() {
    let fs = fs_tool().await;
    for line in ["one", "two", "two"] {
        let asked = [("path", "log.jsonl"), ("content", line)];
        let answer = fs.ask("run-1", "file_append_line", &asked).await;
        assert!(answer.success, "{}", answer.error);
    }
    let path = fs.disk("run-1/log.jsonl");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    fs::write(&path, "one\ntwo\n{\"cut").unwrap();
    fs.ask(
        "run-1",
        "file_append_line",
        &[("path", "log.jsonl"), ("content", "three")],
    )
    .await;
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "one\ntwo\n{\"cut\nthree\n"
    );
    let two = [("path", "log.jsonl"), ("content", "a\nb")];
    assert!(
        fs.ask("run-1", "file_append_line", &two)
            .await
            .error
            .contains("several lines")
    );
    fs.tool.running.drain().await;
}

#[tokio::test]
async fn numbered_lines_have_numbers_of_their_own_though_two_instances_write() {
    let one = fs_tool().await;
    let later = one.out.path().join("made/later");
    let set = [("out_dir", later.to_str().unwrap())];
    let other = Fs {
        tool: Tool::start(&fs_tool::SPEC, fs_tool::build, &set).await,
        out: TempDir::new().unwrap(),
    };
    let append = async |fs: &Fs, content: &str| {
        let asked = [("path", "log.jsonl"), ("content", content)];
        let answer = fs.ask("run-1", "file_append_numbered", &asked).await;
        let result: serde_json::Value = serde_json::from_str(&answer.result).unwrap_or_default();
        (result["seq"].as_u64(), answer.error)
    };
    let writes = |fs, name: char| async move {
        for number in 0..20 {
            let content = format!("{{\"by\":\"{name}\",\"n\":{number}}}");
            let first = append(fs, &content).await;
            assert!(first.0.is_some(), "{}", first.1);
            // A call whose answer was lost is sent again.
            assert_eq!(append(fs, &content).await, first);
        }
    };
    tokio::join!(
        writes(&one, 'a'),
        writes(&other, 'b'),
        writes(&one, 'c'),
        writes(&other, 'd')
    );
    let path = one.disk("run-1/log.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let numbers = log.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["seq"].as_u64().unwrap()
    });
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=80).collect::<Vec<_>>());

    // After the greatest number, whatever else stands there.
    fs::write(
        &path,
        format!("{{\"seq\":200}}\n{log}no JSON\n{{\"seq\":900,\"c"),
    )
    .unwrap();
    assert_eq!(append(&one, "{\"n\":99}").await.0, Some(201));
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .ends_with("{\"seq\":900,\"c\n{\"seq\":201,\"n\":99}\n")
    );
    for (content, problem) in [
        ("[]", "no JSON object"),
        ("{\"seq\":1}", "has a seq already"),
        ("{\n}", "several lines"),
        ("{} {}", "no JSON object"),
    ] {
        let (number, error) = append(&one, content).await;
        assert!(
            number.is_none() && error.contains(problem),
            "{content}: {error}"
        );
    }
    one.tool.running.drain().await;
    other.tool.running.drain().await;
}

#[tokio::test]
async fn every_result_is_of_the_form_that_is_declared() {
    let fs = fs_tool().await;
    let (path, content) = (("path", "a.jsonl"), ("content", "{\"n\":1}"));
    for (operation, parameters) in [
        ("file_write_safe", &[path, ("content", "")][..]),
        ("file_append_line", &[path, content]),
        ("file_append_numbered", &[path, content]),
        ("file_read_safe", &[path]),
        ("file_list", &[]),
    ] {
        let answer = fs.ask("run-1", operation, parameters).await;
        assert!(answer.success, "{operation}: {}", answer.error);
        fs.tool.assert_declared(operation, &answer.result).await;
    }
    let operations = fs.tool.info().await.operations;
    let of = |name: &str| operations.iter().find(|row| row.name == name).unwrap();
    assert_eq!(of("file_list").read_only, Some(true));
    assert_eq!(of("file_write_safe").destructive, Some(true));
    assert_eq!(of("file_append_line").destructive, Some(false));
    assert!(of("file_list").parameters.is_empty());
    assert!(of("file_read_safe").parameters[0].required);
    fs.tool.running.drain().await;
}

#[tokio::test]
async fn it_lists_itself_and_its_operations() {
    let mut fs = fs_tool().await;
    let request = ListToolsRequest {
        filter: "files".into(),
    };
    let tools = fs
        .tool
        .client
        .list_tools(request)
        .await
        .unwrap()
        .into_inner()
        .tools;
    assert_eq!(tools[0].tool_id, "fs-tool");
    assert!(tools[0].detailed_description.contains("file_write_safe"));
    let unknown = fs.ask("run-1", "file_delete", &[]).await;
    assert!(
        unknown.error.contains("file_read_safe"),
        "{}",
        unknown.error
    );
    fs.tool.running.drain().await;
}
