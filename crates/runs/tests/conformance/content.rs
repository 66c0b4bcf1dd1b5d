use mesh_runs::{Error, content_id};

use crate::support::stores;

#[tokio::test]
async fn content_is_stored_once_and_read_by_its_name() {
    for fixture in stores().await {
        let store = &fixture.store;
        let large = vec![7; 3 << 20];
        let id = store.put_blob(b"content").await.unwrap();
        assert_eq!(id, content_id(b"content"));
        assert_eq!(store.put_blob(b"content").await.unwrap(), id);
        let other = store.put_blob(&large).await.unwrap();
        let read = store.blobs(&[other, id.clone()]).await.unwrap();
        assert_eq!(read, [large, b"content".to_vec()], "{}", fixture.scheme);
        let unknown = store.blobs(&[id, content_id(b"unknown")]).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
        assert!(store.blobs(&[]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_store_says_who_it_is_without_credentials_and_that_it_works() {
    for fixture in stores().await {
        fixture.store.check().await.unwrap();
        fixture.store.check().await.unwrap();
        let name = fixture.store.name();
        assert!(name.starts_with(fixture.scheme), "{name}");
    }
}
