//! One router's tap, line by line.

use tokio::sync::mpsc;

use super::Said;
use crate::admin::AdminClient;

/// Bytes of a line, at most: a router's are far shorter.
const LONGEST: usize = 1 << 20;

/// Passes the lines of a tap on until it ends, and then why.
pub(super) async fn follow(
    admin: AdminClient,
    name: String,
    address: String,
    path: String,
    lines: mpsc::Sender<Said>,
) {
    let reason = match read(&admin, &name, &address, &path, &lines).await {
        Ok(()) => "it has ended the tap".to_owned(),
        Err(reason) => reason,
    };
    // The command may be over.
    lines.send(Said::Ended(name, reason)).await.ok();
}

async fn read(
    admin: &AdminClient,
    name: &str,
    address: &str,
    path: &str,
    lines: &mpsc::Sender<Said>,
) -> Result<(), String> {
    let mut answer = admin.open(address, path).await?;
    let mut kept = Vec::new();
    while let Some(part) = answer
        .chunk()
        .await
        .map_err(|error| telemetry::root_cause(&error))?
    {
        kept.extend_from_slice(&part);
        while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = kept.drain(..=end).collect();
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            if lines.send(Said::Line(name.to_owned(), line)).await.is_err() {
                return Ok(());
            }
        }
        if kept.len() > LONGEST {
            return Err(format!("it sends a line of more than {LONGEST} bytes"));
        }
    }
    Ok(())
}
