//! JSON lines from stdin, in chunks: memory stays small however many there are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};

use tokio::sync::mpsc::Sender;

use super::decode::Decoder;
use crate::broker::Message;
use crate::domain::message::{MAX_BODY, Rejection};

/// Lines of one chunk, at most.
const CHUNK: usize = 1_000;
/// A chunk is handed on as soon as no more input is at hand, so this should hold a chunk's lines.
const BUFFER: usize = 256 * 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Some lines, judged.
#[derive(Default)]
pub(super) struct Chunk {
    /// In order.
    pub messages: Vec<Message>,
    /// In order.
    pub refused: Vec<Refused>,
}

/// A line that is no job.
pub(super) struct Refused {
    /// Counts from 1, blank lines included.
    pub line: u64,
    /// Why.
    pub rejection: Rejection,
}

impl Chunk {
    fn add(&mut self, line: u64, judged: Result<Message, Rejection>) {
        match judged {
            Ok(message) => self.messages.push(message),
            Err(rejection) => self.refused.push(Refused { line, rejection }),
        }
    }

    fn len(&self) -> usize {
        self.messages.len() + self.refused.len()
    }
}

/// Sends stdin's lines in chunks until it ends, cannot be read, or nobody listens. Blocks.
pub(super) fn read_stdin(decoder: Decoder, all_or_nothing: bool, chunks: &Sender<io::Result<Chunk>>) {
    let stdin = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let outcome = match all_or_nothing {
        true => read_all_or_nothing(stdin, decoder, chunks),
        false => read(stdin, decoder, chunks),
    };
    if let Err(error) = outcome {
        // Nobody listens where the command ends already.
        let _ = chunks.blocking_send(Err(error));
    }
}

fn read<R: io::Read>(
    mut input: BufReader<R>,
    mut decoder: Decoder,
    chunks: &Sender<io::Result<Chunk>>,
) -> io::Result<()> {
    let mut chunk = Chunk::default();
    let mut lines = Lines::default();
    while let Some((number, line)) = lines.next(&mut input)? {
        if !is_blank(line) {
            chunk.add(number, decoder.message(line));
        }
        let is_due = chunk.len() >= CHUNK || input.buffer().is_empty();
        if is_due && chunk.len() > 0 && chunks.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
            return Ok(());
        }
    }
    if chunk.len() > 0 {
        // Nobody listens where the command ends already.
        let _ = chunks.blocking_send(Ok(chunk));
    }
    Ok(())
}

/// Judges every line before the first is handed on. A pipe cannot be read twice, so the lines are kept
/// in a file that has no name and vanishes with the process.
fn read_all_or_nothing<R: io::Read>(
    mut input: BufReader<R>,
    mut decoder: Decoder,
    chunks: &Sender<io::Result<Chunk>>,
) -> io::Result<()> {
    let mut kept = BufWriter::new(nameless_file()?);
    let mut lines = Lines::default();
    let mut all_good = true;
    while let Some((number, line)) = lines.next(&mut input)? {
        if !is_blank(line)
            && let Err(rejection) = decoder.message(line)
        {
            all_good = false;
            let refused = vec![Refused { line: number, rejection }];
            if chunks.blocking_send(Ok(Chunk { refused, ..Chunk::default() })).is_err() {
                return Ok(());
            }
        }
        kept.write_all(line)?;
        kept.write_all(b"\n")?;
    }
    if !all_good {
        return Ok(());
    }
    let mut kept = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
    kept.rewind()?;
    read(BufReader::with_capacity(BUFFER, kept), decoder, chunks)
}

/// A file in the folder for temporary ones, readable by us only and removed at once.
fn nameless_file() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = std::env::temp_dir().join(format!("dispatcher-send-{:016x}", fastrand::u64(..)));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Takes lines out of a reader, none longer than can be a job.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    /// Lines taken.
    number: u64,
}

impl Lines {
    /// The next line, without its end, and its number. Of one that is too long, the beginning: still
    /// too long.
    fn next(&mut self, input: &mut impl BufRead) -> io::Result<Option<(u64, &[u8])>> {
        self.line.clear();
        let mut ended = false;
        while !ended {
            let read = input.fill_buf()?;
            if read.is_empty() {
                break;
            }
            let newline = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..newline.unwrap_or(read.len())];
            let room = (MAX_BODY + 2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(newline.is_some());
            ended = newline.is_some();
            input.consume(used);
        }
        if !ended && self.line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        // What some editors put before the first line.
        let line = line.strip_prefix(BOM).filter(|_| self.number == 1).unwrap_or(line);
        Ok(Some((self.number, line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let (mut lines, mut input) = (Lines::default(), BufReader::with_capacity(7, text));
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next(&mut input).unwrap() {
            found.push(line.to_vec());
            assert_eq!(found.len() as u64, number);
        }
        found
    }

    #[test]
    fn lines_end_in_every_way_that_files_do() {
        assert_eq!(lines(b""), [b""; 0]);
        assert_eq!(lines(b"{}\n"), [b"{}"]);
        assert_eq!(lines(b"\xef\xbb\xbf{\"id\":\"a\"}\r\n\n{}"), [&b"{\"id\":\"a\"}"[..], b"", b"{}"]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut text = vec![b'x'; 3 * MAX_BODY];
        text.extend(b"\n{}");
        let found = lines(&text);
        assert_eq!((found[0].len(), found[1].as_slice()), (MAX_BODY + 2, &b"{}"[..]));
    }

    #[test]
    fn the_nameless_file_is_gone_from_its_folder() {
        use std::io::Read;
        use std::os::unix::fs::MetadataExt;
        let mut file = nameless_file().unwrap();
        file.write_all(b"kept").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), file.metadata().unwrap().nlink()), ("kept", 0));
    }
}
