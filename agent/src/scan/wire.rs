//! The two pipes between agent and scan worker: a 32-bit little-endian length, then that many bytes.
//!
//! In: values of `message.rs`. Out: bytes, and back. The request is JSON, because the policy's types read
//! themselves as text and numbers alike, which a format that does not describe itself cannot carry; the answers,
//! of which there are millions, are postcard. Must never: hold more than one frame beyond what it was given.

use std::io::Read;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{ScanMessage, ScanRequest};

/// Longest frame of the worker, bytes. A candidate is its path plus about 100 bytes, and paths are cut off at
/// [`super::walk::MAX_PATH`]; the report at the end is a few hundred bytes.
pub(super) const MAX_FRAME: usize = 64 * 1024;

/// Longest request, bytes: 128 layers and a thousand mounts of 4,096 bytes each fit.
const MAX_REQUEST: usize = 8 << 20;

const PREFIX: usize = size_of::<u32>();

/// A pipe that broke or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Reading or writing failed.
    #[error("the pipe between agent and scan worker: {0}")]
    Pipe(#[from] std::io::Error),
    /// A frame is longer than any honest one.
    #[error("a frame of {length} bytes is longer than {limit}")]
    TooLong {
        /// What the frame claims or needs.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The other side ended in the middle of a frame.
    #[error("the scan worker ended in the middle of a message")]
    Cut,
    /// The request does not convert.
    #[error("scan request: {0}; paths of mounts and layers must be UTF-8")]
    Request(#[from] serde_json::Error),
    /// A message does not convert.
    #[error("scan message: {0}")]
    Message(#[from] postcard::Error),
}

/// The request, ready to be written.
pub(crate) fn encode_request(request: &ScanRequest) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; PREFIX];
    serde_json::to_writer(&mut frame, request)?;
    seal(&mut frame, 0, MAX_REQUEST)?;
    Ok(frame)
}

/// Waits for the request. `None`: the agent closed the pipe without sending one.
pub(crate) fn read_request(mut input: impl Read) -> Result<Option<ScanRequest>, WireError> {
    let mut prefix = [0; PREFIX];
    match input.read_exact(&mut prefix) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = checked_length(prefix, MAX_REQUEST)?;
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Appends one message to `out`.
pub(crate) fn append(message: &ScanMessage, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    postcard::to_io(message, &mut *out)?;
    seal(out, start, MAX_FRAME)
}

fn seal(out: &mut [u8], start: usize, limit: usize) -> Result<(), WireError> {
    let length = out.len() - start - PREFIX;
    let prefix = u32::try_from(length).ok().filter(|_| length <= limit);
    let prefix = prefix.ok_or(WireError::TooLong { length, limit })?;
    out[start..start + PREFIX].copy_from_slice(&prefix.to_le_bytes());
    Ok(())
}

fn checked_length(prefix: [u8; PREFIX], limit: usize) -> Result<usize, WireError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > limit { Err(WireError::TooLong { length, limit }) } else { Ok(length) }
}

/// The agent's end of the worker's output.
#[derive(Debug)]
pub(crate) struct Messages<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame starts.
    start: usize,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, buffer: Vec::with_capacity(MAX_FRAME + PREFIX), start: 0 }
    }

    /// The next message; `None` at the end. Cancel-safe: what was read stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<ScanMessage>, WireError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            // `read_buf` fills spare capacity only, so the buffer never outgrows one frame.
            if self.buffer.len() == self.buffer.capacity() {
                self.buffer.reserve_exact(MAX_FRAME + PREFIX - self.buffer.len());
            }
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(WireError::Cut) };
            }
        }
    }

    fn take(&mut self) -> Result<Option<ScanMessage>, WireError> {
        let Some((prefix, rest)) = self.buffer[self.start..].split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = checked_length(*prefix, MAX_FRAME)?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = postcard::from_bytes(body)?;
        self.start += PREFIX + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ScanSettings;

    fn progress(entries: u64) -> ScanMessage {
        ScanMessage::Progress { entries, candidates: 1 }
    }

    async fn read_all(bytes: &[u8]) -> Result<Vec<ScanMessage>, WireError> {
        let mut messages = Messages::new(bytes);
        let mut all = Vec::new();
        while let Some(message) = messages.next().await? {
            all.push(message);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn frames_come_back_in_order_however_many_a_read_brings() {
        let sent: Vec<_> = (0..30_000).map(progress).collect();
        let mut bytes = Vec::new();
        for message in &sent {
            append(message, &mut bytes).unwrap();
        }
        assert_eq!(read_all(&bytes).await.unwrap(), sent);
    }

    #[tokio::test]
    async fn a_cut_frame_is_no_end() {
        let mut bytes = Vec::new();
        append(&progress(1), &mut bytes).unwrap();
        bytes.pop();
        assert!(matches!(read_all(&bytes).await, Err(WireError::Cut)));
    }

    #[tokio::test]
    async fn a_frame_that_claims_too_much_is_refused_before_it_is_read() {
        let claim = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes();
        assert!(matches!(read_all(&claim).await, Err(WireError::TooLong { .. })));
    }

    #[test]
    fn a_request_comes_back_whole() {
        let request = ScanRequest {
            roots: vec![],
            junk: vec![],
            never: vec!["/app/data/**".into()],
            settings: ScanSettings::default(),
            now: (1, 2),
        };
        let bytes = encode_request(&request).unwrap();
        assert_eq!(read_request(&bytes[..]).unwrap(), Some(request));
        assert_eq!(read_request(&[][..]).unwrap(), None);
    }
}
