//! The docs tool as its callers see it, over a real socket and a real directory.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{fs, os::unix::fs::symlink};

use agentkit::sources::DocSearchResults;
use serde_json::Value;
use tempfile::TempDir;
use testkit::clients::Tool;

struct Docs {
    tool: Tool,
    dir: TempDir,
}

async fn docs() -> Docs {
    docs_with(&[]).await
}

async fn docs_with(set: &[(&str, &str)]) -> Docs {
    let dir = TempDir::new().unwrap();
    let documents = dir.path().join("docs");
    let own = [
        ("docs_dir", documents.to_str().unwrap()),
        ("docs_refresh", "0s"),
        ("docs_max_file_bytes", "1KiB"),
    ];
    let set = [&own[..], set].concat();
    let tool = Tool::start(&docs_tool::SPEC, docs_tool::build, &set).await;
    Docs { tool, dir }
}

impl Docs {
    async fn search(&self, query: &str) -> DocSearchResults {
        let answer = self
            .tool
            .call("search_local_docs", &[("query", query)])
            .await;
        assert!(answer.success, "{}", answer.error);
        serde_json::from_str(&answer.result).unwrap()
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.dir.path().join("docs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[tokio::test]
async fn a_search_finds_the_lines_and_reading_them_gives_the_same() {
    let docs = docs().await;
    docs.put(
        "guide/drain.md",
        "# Draining\n\nA router finishes its calls.\nThen it leaves.\n",
    );
    docs.put("other.txt", "Nothing of the kind.\n");
    let found = docs.search("router calls unheard-of").await;
    assert_eq!(
        (found.files, found.passages, found.results.len()),
        (2, 2, 1)
    );
    assert_eq!(found.missing_terms, ["unheard"]);
    let passage = &found.results[0].passage;
    assert_eq!(passage.source().to_string(), "guide/drain.md:3-4");
    assert_eq!(passage.heading, "Draining");
    let lines = [("file", "guide/drain.md"), ("line", "3"), ("end_line", "4")];
    let read = docs.tool.call("read_local_doc", &lines).await;
    let read: Value = serde_json::from_str(&read.result).unwrap();
    assert_eq!(read["text"], passage.text.as_str());
    let (tool, found) = (&docs.tool, serde_json::to_string(&found).unwrap());
    tool.assert_declared("search_local_docs", &found).await;
    tool.assert_declared("read_local_doc", &read.to_string())
        .await;
    docs.tool.running.drain().await;
}

#[tokio::test]
async fn files_that_appear_change_and_go_are_noticed() {
    let docs = docs().await;
    let none = docs
        .tool
        .call("search_local_docs", &[("query", "apple")])
        .await;
    assert!(none.error.contains("DOCS_DIR"), "{}", none.error);
    docs.put("a.md", "apple\n");
    assert_eq!(docs.search("apple").await.results.len(), 1);
    docs.put("a.md", "pear, and longer\n");
    docs.put("b.md", "apple again\n");
    let found = docs.search("apple").await;
    assert_eq!(found.results.len(), 1);
    assert_eq!(found.results[0].passage.file, "b.md");
    fs::remove_file(docs.dir.path().join("docs/b.md")).unwrap();
    assert!(docs.search("apple").await.results.is_empty());
    docs.tool.running.drain().await;
}

#[tokio::test]
async fn nothing_outside_of_the_directory_or_over_a_limit_is_read() {
    let docs = docs().await;
    fs::write(docs.dir.path().join("secret.md"), "secret word\n").unwrap();
    docs.put("a.md", "a word\n");
    docs.put("big.md", &"word ".repeat(500));
    docs.put("raw.md", "");
    fs::write(docs.dir.path().join("docs/raw.md"), b"word \xff").unwrap();
    docs.put(".hidden.md", "word\n");
    docs.put("program.rs", "word\n");
    symlink("../secret.md", docs.dir.path().join("docs/link.md")).unwrap();
    symlink("..", docs.dir.path().join("docs/up")).unwrap();
    let found = docs.search("word").await;
    assert_eq!((found.files, found.results.len()), (1, 1));
    for file in [
        "../secret.md",
        "link.md",
        "up/secret.md",
        "/etc/hostname",
        "big.md",
        "",
    ] {
        let read = docs.tool.call("read_local_doc", &[("file", file)]).await;
        assert!(
            !read.success && read.error.contains("no document"),
            "{file}: {}",
            read.result
        );
    }
    docs.tool.running.drain().await;
}

#[tokio::test]
async fn bad_requests_are_told_what_would_do() {
    let docs = docs().await;
    docs.put("a.md", "one\n");
    for (operation, parameters, expected) in [
        ("find", vec![], "search_local_docs"),
        ("search_local_docs", vec![], "`query` is missing"),
        ("search_local_docs", vec![("query", " ")], "`query`"),
        (
            "search_local_docs",
            vec![("query", "a"), ("limit", "51")],
            "from 1 to 50",
        ),
        (
            "search_local_docs",
            vec![("query", "a"), ("kind", "prose")],
            "text, list, table, code",
        ),
        (
            "read_local_doc",
            vec![("file", "a.md"), ("line", "7")],
            "has 1 lines",
        ),
        (
            "read_local_doc",
            vec![("file", "a.md"), ("line", "2"), ("end_line", "1")],
            "`end_line`",
        ),
    ] {
        let answer = docs.tool.call(operation, &parameters).await;
        assert!(
            answer.error.contains(expected),
            "{operation}: {}",
            answer.error
        );
    }
    assert_eq!(docs.tool.info().await.tool_id, "docs-tool");
    docs.tool.running.drain().await;
}

#[tokio::test]
async fn no_more_files_and_bytes_are_read_than_the_keys_say() {
    for limit in [("docs_max_files", "1"), ("docs_max_bytes", "10")] {
        let docs = docs_with(&[limit]).await;
        docs.put("a.md", "a word\n");
        docs.put("b.md", "a word\n");
        let found = docs.search("word").await;
        assert_eq!(found.results.len(), 1, "{limit:?}");
        docs.tool.running.drain().await;
    }
}
