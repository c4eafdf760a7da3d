//! Downloading one file with a known checksum, resumable, never half there under its final name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use super::DataError;
use crate::checksum;

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on disk.
    pub done: u64,
    /// Bytes of the whole file, if the server told.
    pub total: Option<u64>,
}

/// What a download found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    AlreadyThere,
    Complete,
    /// Part of it had been there.
    Resumed,
}

/// A file to be downloaded.
pub(super) struct Download<'a> {
    pub(super) url: &'a str,
    /// Hexadecimal MD5 of the file.
    pub(super) md5: &'a str,
    pub(super) target: &'a Path,
    /// How often a broken connection is taken up again by itself.
    pub(super) retries: u32,
    /// Before the first of these; twice as long before each further one.
    pub(super) pause: Duration,
}

/// How one request ended.
enum Attempt {
    /// The whole file is there.
    Whole,
    /// The server cannot continue from where the part ends: the part is worthless or already whole.
    Unsatisfiable,
    Broken(String),
}

impl Download<'_> {
    /// Downloads to `<target>.part`, checks the checksum, renames.
    pub(super) fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, DataError> {
        if let Some(folder) = self.target.parent() {
            fs::create_dir_all(folder).map_err(DataError::io(folder))?;
        }
        if self.is_there()? {
            return Ok(Outcome::AlreadyThere);
        }
        let path = self.part();
        let part = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut part = part.map_err(DataError::io(&path))?;
        // Where the file system knows no locks, two downloads at once end in a checksum that does not match.
        if let Err(TryLockError::WouldBlock) = part.try_lock() {
            return Err(DataError::Locked(self.target.to_owned()));
        }
        // Another process may have finished between the two lines above.
        if self.is_there()? {
            return Ok(Outcome::AlreadyThere);
        }
        let outcome = self.fill(&mut part, progress).inspect_err(|_| {
            if part_is_empty(&path) {
                let _ = fs::remove_file(&path);
            }
        })?;
        part.sync_all().map_err(DataError::io(&path))?;
        fs::rename(&path, self.target).map_err(DataError::io(self.target))?;
        Ok(outcome)
    }

    /// Whether the target is there already.
    fn is_there(&self) -> Result<bool, DataError> {
        if !self.target.exists() {
            return Ok(false);
        }
        let found = File::open(self.target).and_then(checksum::of_reader).map_err(DataError::io(self.target))?;
        if found == self.md5 {
            return Ok(true);
        }
        Err(DataError::Occupied { path: self.target.to_owned(), expected: self.md5.to_owned(), found })
    }

    fn part(&self) -> PathBuf {
        let mut name = OsString::from(self.target);
        name.push(".part");
        name.into()
    }

    /// Fills the part until it is whole and right.
    fn fill(&self, part: &mut File, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, DataError> {
        let io = |e| DataError::Io { path: self.part(), source: e };
        let agent = agent();
        let mut resumed = part.metadata().map_err(io)?.len() > 0;
        let mut retries = self.retries;
        let mut pause = self.pause;
        loop {
            let before = part.metadata().map_err(io)?.len();
            let mut total = None;
            let attempt = self.request(&agent, part, before, &mut total, progress)?;
            let done = part.metadata().map_err(io)?.len();
            if let Attempt::Broken(why) = attempt {
                if done == before || retries == 0 {
                    return Err(DataError::Interrupted { url: self.url.to_owned(), done, total, why });
                }
                retries -= 1;
                std::thread::sleep(pause);
                pause *= 2;
                continue;
            }
            part.seek(SeekFrom::Start(0)).map_err(io)?;
            let found = checksum::of_reader(&mut *part).map_err(io)?;
            if found == self.md5 {
                return Ok(if resumed { Outcome::Resumed } else { Outcome::Complete });
            }
            part.set_len(0).map_err(io)?;
            // A part that does not belong to the file of today: once more from the start.
            if !std::mem::take(&mut resumed) {
                return Err(DataError::Altered { url: self.url.to_owned(), expected: self.md5.to_owned(), found });
            }
        }
    }

    /// One request from `offset` on; `total` becomes the size of the whole file.
    fn request(
        &self,
        agent: &Agent,
        part: &mut File,
        offset: u64,
        total: &mut Option<u64>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Attempt, DataError> {
        let io = |e| DataError::Io { path: self.part(), source: e };
        let refused = |why: String| DataError::Fetch { url: self.url.to_owned(), why };
        let mut request = agent.get(self.url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(e) if offset > 0 => return Ok(Attempt::Broken(e.to_string())),
            Err(e) => return Err(refused(e.to_string())),
        };
        let mut done = match response.status() {
            StatusCode::OK => {
                *total = response.body().content_length();
                0
            }
            StatusCode::PARTIAL_CONTENT => match content_range(&response) {
                Some((start, size)) if start == offset => {
                    *total = size;
                    offset
                }
                _ => return Ok(Attempt::Unsatisfiable),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => return Ok(Attempt::Unsatisfiable),
            status => return Err(refused(format!("the server answered {status}"))),
        };
        part.set_len(done).map_err(io)?;
        part.seek(SeekFrom::Start(done)).map_err(io)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(Progress { done, total: *total });
            let read = match body.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| done < total) => {
                    return Ok(Attempt::Broken("the connection was closed".to_owned()));
                }
                Ok(0) => return Ok(Attempt::Whole),
                Ok(read) => read,
                Err(e) => return Ok(Attempt::Broken(e.to_string())),
            };
            part.write_all(&buffer[..read]).map_err(io)?;
            done += read as u64;
        }
    }
}

fn part_is_empty(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.len() == 0)
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("hpe-darts/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        // A stalled connection counts as broken.
        .timeout_per_read(Some(Duration::from_secs(60)));
    config.build().into()
}

/// First byte and size of the whole file from `Content-Range: bytes 100-199/200` (or `/*`).
fn content_range<T>(response: &Response<T>) -> Option<(u64, Option<u64>)> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    /// What the server does with one request.
    #[derive(Clone, Copy)]
    enum Reply {
        /// Honours `Range`.
        Proper,
        /// Sends everything, whatever is asked for.
        IgnoreRange,
        /// As `Proper`, but hangs up after this many bytes of body.
        HangUp(usize),
        /// A range that was not asked for.
        WrongRange,
        Status(&'static str),
    }

    struct Server {
        url: String,
        /// `Range` header of each request.
        ranges: Arc<Mutex<Vec<Option<String>>>>,
    }

    /// Serves `content`, one connection a reply, then refuses connections.
    fn serve(content: &[u8], replies: &[Reply]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/data.tar.gz", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (content, replies, seen) = (content.to_vec(), replies.to_vec(), ranges.clone());
        std::thread::spawn(move || {
            for reply in replies {
                let (stream, _) = listener.accept().unwrap();
                let range = answer(stream, &content, reply);
                seen.lock().unwrap().push(range);
            }
        });
        Server { url, ranges }
    }

    fn answer(mut stream: TcpStream, content: &[u8], reply: Reply) -> Option<String> {
        let mut range = None;
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("range: ") {
                range = Some(value.to_owned());
            }
        }
        let asked = range.as_ref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let size = content.len();
        let (head, body) = match (reply, asked) {
            (Reply::Status(status), _) => (format!("{status}\r\nContent-Length: 0"), &[][..]),
            (Reply::WrongRange, Some(_)) => (
                format!("206 Partial Content\r\nContent-Range: bytes 0-9/{size}\r\nContent-Length: 10"),
                &content[..10],
            ),
            (Reply::Proper | Reply::HangUp(_), Some(from)) if from >= size => {
                (format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0"), &[][..])
            }
            (Reply::Proper | Reply::HangUp(_), Some(from)) => {
                let body = &content[from..];
                let range = format!("bytes {from}-{}/{size}", size - 1);
                (format!("206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}", body.len()), body)
            }
            _ => (format!("200 OK\r\nContent-Length: {size}"), content),
        };
        let sent = if let Reply::HangUp(after) = reply { &body[..after.min(body.len())] } else { body };
        stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        // The client may have hung up.
        let _ = stream.write_all(sent);
        range
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * i % 251) as u8).collect()
    }

    struct Client {
        folder: tempfile::TempDir,
        md5: String,
        progress: Vec<Progress>,
    }

    impl Client {
        fn of(content: &[u8]) -> Self {
            Self { folder: tempfile::tempdir().unwrap(), md5: checksum::of_bytes(content), progress: Vec::new() }
        }

        fn target(&self) -> PathBuf {
            self.folder.path().join("new/data.tar.gz")
        }

        fn part(&self) -> PathBuf {
            self.folder.path().join("new/data.tar.gz.part")
        }

        fn with_part(self, bytes: &[u8]) -> Self {
            fs::create_dir_all(self.part().parent().unwrap()).unwrap();
            fs::write(self.part(), bytes).unwrap();
            self
        }

        fn run(&mut self, url: &str, retries: u32) -> Result<Outcome, DataError> {
            let (target, md5, pause) = (self.target(), self.md5.clone(), Duration::from_millis(1));
            let download = Download { url, md5: &md5, target: &target, retries, pause };
            download.run(&mut |progress| self.progress.push(progress))
        }

        /// The target is whole and nothing else is there.
        fn assert_whole(&self, content: &[u8]) {
            assert_eq!(fs::read(self.target()).unwrap(), content);
            assert!(!self.part().exists());
        }
    }

    #[test]
    fn whole_and_only_once() {
        let data = content(300_000);
        let server = serve(&data, &[Reply::Proper]);
        let mut client = Client::of(&data);
        assert_eq!(client.run(&server.url, 0).unwrap(), Outcome::Complete);
        client.assert_whole(&data);
        assert_eq!(client.progress.first(), Some(&Progress { done: 0, total: Some(300_000) }));
        assert_eq!(client.progress.last(), Some(&Progress { done: 300_000, total: Some(300_000) }));
        assert!(client.progress.is_sorted_by_key(|p| p.done));
        // The server is gone; the file is known by its checksum.
        assert_eq!(client.run(&server.url, 0).unwrap(), Outcome::AlreadyThere);
    }

    #[test]
    fn interrupted_then_resumed() {
        let data = content(300_000);
        let server = serve(&data, &[Reply::HangUp(100_000), Reply::Proper]);
        let mut client = Client::of(&data);
        let error = client.run(&server.url, 0).unwrap_err();
        assert!(error.to_string().contains("stopped at 100000 bytes of 300000"), "{error}");
        assert!(error.hint().unwrap().contains("run the same command again"));
        assert!(!client.target().exists());
        assert_eq!(fs::read(client.part()).unwrap(), data[..100_000]);
        assert_eq!(client.run(&server.url, 0).unwrap(), Outcome::Resumed);
        client.assert_whole(&data);
        assert_eq!(*server.ranges.lock().unwrap(), [None, Some("bytes=100000-".to_owned())]);
    }

    #[test]
    fn a_broken_connection_is_taken_up_again() {
        let data = content(300_000);
        let server = serve(&data, &[Reply::HangUp(100_000), Reply::HangUp(50_000), Reply::Proper]);
        let mut client = Client::of(&data);
        assert_eq!(client.run(&server.url, 2).unwrap(), Outcome::Complete);
        client.assert_whole(&data);
        let ranges = server.ranges.lock().unwrap().clone();
        assert_eq!(ranges[1..], [Some("bytes=100000-".to_owned()), Some("bytes=150000-".to_owned())]);
    }

    #[test]
    fn a_server_that_goes_away_leaves_the_part() {
        let data = content(1000);
        let server = serve(&data, &[Reply::HangUp(400)]);
        let mut client = Client::of(&data);
        let error = client.run(&server.url, 3).unwrap_err();
        assert!(matches!(error, DataError::Interrupted { done: 400, .. }), "{error}");
        assert_eq!(fs::read(client.part()).unwrap(), data[..400]);
    }

    #[test]
    fn a_server_without_ranges_starts_over() {
        let data = content(5000);
        for reply in [Reply::IgnoreRange, Reply::WrongRange] {
            let server = serve(&data, &[reply, Reply::IgnoreRange]);
            let mut client = Client::of(&data).with_part(&data[..2000]);
            client.run(&server.url, 0).unwrap();
            client.assert_whole(&data);
        }
    }

    #[test]
    fn a_part_of_another_file_starts_over() {
        let data = content(5000);
        for part in [vec![7; 2000], vec![7; 9000]] {
            let server = serve(&data, &[Reply::Proper, Reply::Proper]);
            let mut client = Client::of(&data).with_part(&part);
            client.run(&server.url, 0).unwrap();
            client.assert_whole(&data);
            assert_eq!(*server.ranges.lock().unwrap(), [Some(format!("bytes={}-", part.len())), None]);
        }
    }

    #[test]
    fn a_part_that_is_whole_is_only_renamed() {
        let data = content(5000);
        let server = serve(&data, &[Reply::Proper]);
        let mut client = Client::of(&data).with_part(&data);
        assert_eq!(client.run(&server.url, 0).unwrap(), Outcome::Resumed);
        client.assert_whole(&data);
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing() {
        let server = serve(&content(4000), &[Reply::Proper]);
        let mut client = Client::of(&content(5000));
        let error = client.run(&server.url, 0).unwrap_err();
        assert!(error.to_string().contains(&format!("MD5 expected {}, found ", client.md5)), "{error}");
        assert!(!client.target().exists() && !client.part().exists());
    }

    #[test]
    fn refusals_are_said() {
        let data = content(100);
        let server = serve(&data, &[Reply::Status("404 Not Found")]);
        let mut client = Client::of(&data);
        let error = client.run(&server.url, 3).unwrap_err().to_string();
        assert!(error.contains(&server.url) && error.ends_with("the server answered 404 Not Found"), "{error}");
        assert!(!client.target().exists() && !client.part().exists());
        // A port that nobody listens on.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = client.run(&format!("http://127.0.0.1:{port}/x"), 3).unwrap_err().to_string();
        assert!(error.starts_with("cannot download http://127.0.0.1:") && error.contains("refused"), "{error}");
        assert!(client.run("no address", 0).is_err());
    }

    #[test]
    fn another_file_of_that_name_is_not_touched() {
        let data = content(100);
        let mut client = Client::of(&data).with_part(b"");
        fs::write(client.target(), "precious").unwrap();
        let error = client.run("http://127.0.0.1:1/x", 0).unwrap_err();
        assert!(error.to_string().contains("exists and is not the official file"), "{error}");
        assert_eq!(fs::read(client.target()).unwrap(), b"precious");
    }

    #[test]
    fn two_downloads_of_one_file_do_not_mix() {
        let data = content(100);
        let mut client = Client::of(&data).with_part(b"");
        let held = File::open(client.part()).unwrap();
        held.lock().unwrap();
        let error = client.run("http://127.0.0.1:1/x", 0).unwrap_err();
        assert!(matches!(error, DataError::Locked(_)), "{error}");
    }
}
