//! A job, and what is left of one, as bytes: `<id>\n<header as JSON>\n<form><payload>`. The id
//! stands first so that a script can read it. The payload stands last so that it needs no escaping.

use bytes::{BufMut as _, Bytes};

use crate::{
    JobId,
    job::{Header, Job, Payload},
};

/// The size of most headers, in bytes.
const HEADER_SIZE: usize = 256;

/// The form of a payload that is there, and was left out.
const LEFT_OUT: u8 = b'l';

/// Bytes that are not what [`pack`] makes.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a packed job")]
pub(crate) struct Undecodable(&'static str);

/// `payload` is absent in the record of a job that ended without a result.
pub(crate) fn pack(id: &JobId, header: &Header, payload: Option<&Payload>) -> Bytes {
    let size = payload.map_or(0, |payload| payload.bytes().len());
    let mut packed = Vec::with_capacity(id.as_str().len() + HEADER_SIZE + size + 3);
    packed.put_slice(id.as_str().as_bytes());
    packed.put_u8(b'\n');
    serde_json::to_writer(&mut packed, header).expect("a header has only string keys");
    packed.put_u8(b'\n');
    match payload {
        None => packed.put_u8(b'0'),
        Some(Payload::Json(_)) => packed.put_u8(b'j'),
        Some(Payload::Binary(_)) => packed.put_u8(b'b'),
    }
    if let Some(payload) = payload {
        packed.put_slice(payload.bytes());
    }
    packed.into()
}

/// The same for a payload that is too large to carry.
pub(crate) fn pack_without(id: &JobId, header: &Header) -> Bytes {
    let mut packed = Vec::from(pack(id, header, None));
    if let Some(form) = packed.last_mut() {
        *form = LEFT_OUT;
    }
    packed.into()
}

/// Whether these are the bytes of [`pack_without`].
pub(crate) fn is_left_out(packed: &Bytes) -> bool {
    packed.ends_with(&[b'\n', LEFT_OUT])
}

pub(crate) fn pack_job(job: &Job) -> Bytes {
    pack(&job.id, &job.header, Some(&job.payload))
}

/// The inverse of [`pack`].
pub(crate) fn unpack(packed: &Bytes) -> Result<(JobId, Header, Option<Payload>), Undecodable> {
    let line = |from: usize| {
        let rest = packed.get(from..)?;
        Some(from + rest.iter().position(|byte| *byte == b'\n')?)
    };
    let id_end = line(0).ok_or(Undecodable("a text without lines"))?;
    let head_end = line(id_end + 1).ok_or(Undecodable("a single line"))?;
    let id = std::str::from_utf8(&packed[..id_end])
        .ok()
        .and_then(|id| id.parse().ok());
    let header = serde_json::from_slice(&packed[id_end + 1..head_end]).ok();
    let form = packed
        .get(head_end + 1)
        .ok_or(Undecodable("a text without a form"))?;
    let body = packed.slice(head_end + 2..);
    let payload = match *form {
        b'0' | LEFT_OUT => None,
        b'j' => Some(Payload::Json(body)),
        b'b' => Some(Payload::Binary(body)),
        _ => return Err(Undecodable("a text of an unknown form")),
    };
    match (id, header) {
        (Some(id), Some(header)) => Ok((id, header, payload)),
        (None, _) => Err(Undecodable("a text without an id")),
        (_, None) => Err(Undecodable("a text without a header")),
    }
}

pub(crate) fn unpack_job(packed: &Bytes) -> Result<Job, Undecodable> {
    let (id, header, payload) = unpack(packed)?;
    let payload = payload.ok_or(Undecodable("a record"))?;
    Ok(Job {
        id,
        payload,
        header,
    })
}

/// The header and payload that stand for a job that cannot be decoded: its bytes are its payload.
pub(crate) fn salvage(id: &JobId, packed: &Bytes, undecodable: &Undecodable) -> (Header, Payload) {
    let header = Header {
        kind: "undecodable".to_owned(),
        priority: 3,
        max_attempts: 1,
        timeout_ms: 60_000,
        enqueued_at: id.made_at(),
        error: Some(format!(
            "it cannot be decoded ({undecodable}); its bytes are kept as its payload"
        )),
        ..Header::default()
    };
    (header, Payload::Binary(packed.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lane, NewJob};

    #[test]
    fn what_is_packed_unpacks_to_the_same() {
        let id = JobId::new(&Lane::new("default", 0).unwrap());
        for payload in [
            Payload::Json("{\"a\":\"\\n\"}".into()),
            Payload::Binary(Bytes::from_static(b"\n\0\n")),
            Payload::Binary(Bytes::new()),
        ] {
            let mut new = NewJob::new("call", payload.clone());
            new.caller = Some("line\nbreak".to_owned());
            let job = new.into_job(id.clone(), id.made_at());
            let back = unpack_job(&pack_job(&job)).unwrap();
            assert_eq!(
                (back.id, back.payload, back.header),
                (job.id, payload, job.header)
            );
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        for bytes in ["", "\n", "\n\n", "a\n{}\nj", "default.0.x\n{}\n0"] {
            assert!(
                unpack(&Bytes::from_static(bytes.as_bytes())).is_err(),
                "{bytes:?}"
            );
        }
    }
}
