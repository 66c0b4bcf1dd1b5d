use mesh_runs::{Error, NewVersion, RunStore, Scope, TagTarget, content_id};

use crate::support::{create, new_run, stores};

fn base(content: &str) -> NewVersion {
    NewVersion {
        kind: "dag_version".to_owned(),
        content: content.as_bytes().to_vec(),
        workflow: content.as_bytes().to_vec(),
        op_count: 0,
        description: "a base".to_owned(),
        created_by: "ann".to_owned(),
        after: None,
    }
}

fn patch(content: &str, whole: &str, after: Option<u64>) -> NewVersion {
    NewVersion {
        kind: "patch_set".to_owned(),
        workflow: whole.as_bytes().to_vec(),
        op_count: 2,
        created_by: "ben".to_owned(),
        after,
        ..base(content)
    }
}

async fn put(store: &dyn RunStore, version: &NewVersion) -> u64 {
    let version = store.put_version("ann", "main", version).await.unwrap();
    version.seq
}

#[tokio::test]
async fn versions_are_numbered_and_a_patch_comes_with_what_it_is_built_on() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let none = store
            .put_version("ann", "main", &patch("p", "w", None))
            .await;
        assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
        assert_eq!(put(store, &base("one")).await, 1);
        assert_eq!(put(store, &patch("two", "whole 2", Some(1))).await, 2);
        assert_eq!(put(store, &patch("three", "whole 3", None)).await, 3);
        let stale = store
            .put_version("ann", "main", &patch("p", "w", Some(2)))
            .await;
        assert!(matches!(stale, Err(Error::Conflict(_))), "{stale:?}");

        let (tag, versions) = store.versions("ann", "main", None).await.unwrap();
        assert_eq!((tag.seq, tag.version), (3, 3));
        assert_eq!(
            (tag.created_by.as_str(), tag.moved_by.as_str()),
            ("ann", "ben")
        );
        let seen: Vec<_> = versions
            .iter()
            .map(|version| {
                (
                    version.seq,
                    version.depth,
                    version.op_count,
                    &version.content[..],
                )
            })
            .collect();
        let expected: [(u64, u32, u32, &[u8]); 3] =
            [(1, 0, 0, b"one"), (2, 1, 2, b"two"), (3, 2, 2, b"three")];
        assert_eq!(seen, expected);
        assert_eq!(versions[2].workflow, b"whole 3");
        assert_eq!(versions[2].artifact, tag.target);
        assert_eq!(tag, store.tag("ann", "main").await.unwrap());

        let (_, second) = store.versions("ann", "main", Some(2)).await.unwrap();
        assert_eq!(second.len(), 2);
        let artifact = store
            .artifact(&second[1].artifact.artifact_id)
            .await
            .unwrap();
        assert_eq!(artifact, second[1].artifact);
        assert_eq!(artifact.cas_id, content_id(b"two"));
        for unknown in [
            store.versions("ann", "main", Some(9)).await,
            store.versions("ben", "main", None).await,
        ] {
            assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
        }
        let unknown = store.artifact("unknown").await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
    }
}

#[tokio::test]
async fn a_patch_of_an_older_version_is_built_on_that_one() {
    for fixture in stores().await {
        let store = &*fixture.store;
        put(store, &base("one")).await;
        put(store, &base("two")).await;
        store
            .move_tag("ann", "main", TagTarget::Version(1), "cid")
            .await
            .unwrap();
        assert_eq!(put(store, &patch("p", "one p", Some(1))).await, 3);
        let (_, versions) = store.versions("ann", "main", None).await.unwrap();
        let seqs: Vec<u64> = versions.iter().map(|version| version.seq).collect();
        assert_eq!(seqs, [1, 3]);
    }
}

#[tokio::test]
async fn a_tag_moves_back_and_forth_and_remembers() {
    for fixture in stores().await {
        let store = &*fixture.store;
        for content in ["one", "two", "three"] {
            put(store, &base(content)).await;
        }
        let go = async |to| store.move_tag("ann", "main", to, "ben").await;
        assert_eq!(go(TagTarget::Undo).await.unwrap().seq, 2);
        assert_eq!(go(TagTarget::Undo).await.unwrap().seq, 1);
        let end = go(TagTarget::Undo).await;
        assert!(matches!(end, Err(Error::Conflict(_))), "{end:?}");
        assert_eq!(go(TagTarget::Redo).await.unwrap().seq, 2);
        let moved = go(TagTarget::Version(1)).await.unwrap();
        assert_eq!(
            (moved.seq, moved.version, moved.moved_by.as_str()),
            (1, 7, "ben")
        );
        let end = go(TagTarget::Redo).await;
        assert!(matches!(end, Err(Error::Conflict(_))), "{end:?}");
        let unknown = go(TagTarget::Version(9)).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
        let moves = store.tag_moves("ann", "main", 3).await.unwrap();
        let seen: Vec<_> = moves
            .iter()
            .map(|step| (step.version, step.from, step.to, step.why.as_str()))
            .collect();
        let expected = [
            (7, Some(2), 1, "set"),
            (6, Some(1), 2, "redo"),
            (5, Some(2), 1, "undo"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(
            store.tag_moves("ann", "main", 100).await.unwrap()[6].from,
            None
        );
    }
}

#[tokio::test]
async fn tags_are_listed_by_name_for_whom_they_are() {
    for fixture in stores().await {
        let store = &*fixture.store;
        for (owner, tag) in [
            ("ann", "b/x"),
            ("ann", "a"),
            ("_global_", "a"),
            ("_global_", "c"),
            ("ben", "a"),
        ] {
            store.put_version(owner, tag, &base(tag)).await.unwrap();
        }
        let names = async |scope: &Scope, cursor: Option<&str>, limit| {
            let tags = store.tags(scope, cursor, limit).await.unwrap();
            let names = tags.iter().map(|tag| format!("{}:{}", tag.owner, tag.tag));
            (
                names.collect::<Vec<_>>(),
                tags.last().map(mesh_runs::Tag::cursor),
            )
        };
        let ann = Scope::User("ann".to_owned());
        assert_eq!(names(&ann, None, 10).await.0, ["ann:a", "ann:b/x"]);
        assert_eq!(
            names(&Scope::Global, None, 10).await.0,
            ["_global_:a", "_global_:c"]
        );
        let all = Scope::All("ann".to_owned());
        let (first, cursor) = names(&all, None, 1).await;
        let (rest, _) = names(&all, cursor.as_deref(), 10).await;
        assert_eq!(
            [first, rest].concat(),
            ["_global_:a", "ann:a", "ann:b/x", "_global_:c"]
        );
    }
}

#[tokio::test]
async fn a_deleted_tag_is_gone_and_its_name_begins_anew() {
    for fixture in stores().await {
        let store = &*fixture.store;
        put(store, &base("one")).await;
        put(store, &base("two")).await;
        let old = store.tag("ann", "main").await.unwrap().target;
        store.delete_tag("ann", "main").await.unwrap();
        for gone in [
            store.delete_tag("ann", "main").await.err(),
            store.tag("ann", "main").await.err(),
            store.tag_moves("ann", "main", 9).await.err(),
            store
                .move_tag("ann", "main", TagTarget::Undo, "x")
                .await
                .err(),
        ] {
            assert!(matches!(gone, Some(Error::NotFound(_))), "{gone:?}");
        }
        // Runs may have been made from them.
        assert_eq!(store.artifact(&old.artifact_id).await.unwrap(), old);
        assert_eq!(put(store, &base("three")).await, 1);
        let end = store.move_tag("ann", "main", TagTarget::Undo, "x").await;
        assert!(matches!(end, Err(Error::Conflict(_))), "{end:?}");
    }
}

#[tokio::test]
async fn versions_that_are_put_at_once_each_get_a_number() {
    for fixture in stores().await {
        put(&*fixture.store, &base("base")).await;
        let mut putting = tokio::task::JoinSet::new();
        for at in 0..20 {
            let store = fixture.store.clone();
            putting.spawn(async move {
                let version = base(&format!("v{at}"));
                store
                    .put_version("ann", "main", &version)
                    .await
                    .unwrap()
                    .seq
            });
        }
        let mut seqs = putting.join_all().await;
        seqs.sort_unstable();
        assert_eq!(seqs, (2..=21).collect::<Vec<u64>>());
        assert_eq!(fixture.store.tag("ann", "main").await.unwrap().version, 21);
    }
}

#[tokio::test]
async fn only_one_of_those_that_patch_the_same_version_wins() {
    for fixture in stores().await {
        put(&*fixture.store, &base("base")).await;
        let mut putting = tokio::task::JoinSet::new();
        for at in 0..10 {
            let store = fixture.store.clone();
            putting.spawn(async move {
                let version = patch(&format!("p{at}"), "whole", Some(1));
                store.put_version("ann", "main", &version).await.is_ok()
            });
        }
        let won = putting.join_all().await;
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "{}",
            fixture.scheme
        );
    }
}

#[tokio::test]
async fn what_a_run_was_started_with_is_an_artifact_of_its_id() {
    for fixture in stores().await {
        let run = new_run("ann");
        create(&*fixture.store, &run).await;
        let artifact = fixture.store.artifact(&run.run_id).await.unwrap();
        assert_eq!(
            (artifact.kind.as_str(), &artifact.cas_id),
            ("run_snapshot", &run.workflow)
        );
    }
}
