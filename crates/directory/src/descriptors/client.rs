//! What an instance's reflection tells.

use channel::Channel;
use dynamic::ReflectionClient;
use tonic::{Code, Status};

use super::Descriptors;

/// The gRPC services an instance has, by full name; none when it has no reflection.
///
/// # Errors
/// When the instance could not be asked.
pub(crate) async fn list(channel: Channel) -> Result<Vec<String>, Status> {
    match ReflectionClient::new(channel).services().await {
        Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        other => other,
    }
}

/// The files that define these symbols, and what they import.
///
/// # Errors
/// When the instance could not be asked, or tells more than the bounds allow.
pub(crate) async fn fetch(channel: Channel, symbols: &[String]) -> Result<Descriptors, Status> {
    let mut descriptors = Descriptors::default();
    for file in ReflectionClient::new(channel).files(symbols).await? {
        // A file that cannot be read is one that is not there.
        drop(descriptors.add(file));
    }
    Ok(descriptors)
}
