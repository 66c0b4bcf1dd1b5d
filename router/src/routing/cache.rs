//! Routes of requests that repeat a path and an authority, found once.

use std::sync::{Arc, Weak};

use channel::Target;
use directory::DirectorySnapshot;
use mesh_relay::hpack::{Block, Token};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    head::{RequestHead, is_call},
    request::RequestMetadata,
};

/// The number of requests that are remembered, each in a place by its hash.
const PLACES: usize = 256;
/// The longest path and authority that are remembered, bytes.
const LONGEST: usize = 512;

/// Requests that are routed by their path and authority alone. Those with the same ones have the same
/// route, until the directory publishes another snapshot.
pub(crate) struct RouteCache(Vec<Option<CachedRoute>>);

struct CachedRoute {
    path: Box<[u8]>,
    authority: Box<[u8]>,
    snapshot: Weak<DirectorySnapshot>,
    metadata: Arc<RequestMetadata>,
    target: Arc<Target>,
}

impl Default for RouteCache {
    fn default() -> Self {
        Self((0..PLACES).map(|_| None).collect())
    }
}

impl RouteCache {
    /// The route of such a request, where it is known.
    pub(crate) fn find(
        &self,
        request: &Block,
        snapshot: &Arc<DirectorySnapshot>,
    ) -> Option<(Arc<RequestMetadata>, Arc<Target>)> {
        let (path, authority) = key(request)?;
        let known = self.0[place(path, authority)].as_ref()?;
        let same = known.snapshot.as_ptr() == Arc::as_ptr(snapshot)
            && *path == *known.path
            && *authority == *known.authority;
        same.then(|| (Arc::clone(&known.metadata), Arc::clone(&known.target)))
    }

    /// Remembers the route of a request by its head and this snapshot.
    pub(crate) fn keep(
        &mut self,
        head: RequestHead<'_>,
        snapshot: &Arc<DirectorySnapshot>,
        metadata: &Arc<RequestMetadata>,
        target: &Arc<Target>,
    ) {
        // A method that has no label yet may get one.
        if let Some((path, authority)) = key(head.block()).filter(|_| metadata.method.is_known()) {
            self.0[place(path, authority)] = Some(CachedRoute {
                path: path.into(),
                authority: authority.into(),
                snapshot: Arc::downgrade(snapshot),
                metadata: Arc::clone(metadata),
                target: Arc::clone(target),
            });
        }
    }
}

/// The path and the authority, where a request is routed by nothing else.
fn key(request: &Block) -> Option<(&[u8], &[u8])> {
    let value = |token| request.get(token).map_or(&[][..], |field| field.value);
    let (path, authority) = (value(Token::Path), value(Token::Authority));
    let alone = !request.has_mesh_fields() && is_call(request);
    (alone && path.len() + authority.len() <= LONGEST).then_some((path, authority))
}

fn place(path: &[u8], authority: &[u8]) -> usize {
    xxh3_64_with_seed(path, xxh3_64(authority)) as usize % PLACES
}
