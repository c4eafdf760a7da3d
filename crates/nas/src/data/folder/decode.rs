//! All pictures of a folder to pixels, once: on all threads, into a file of the program's cache. An entry is used again while
//! names, sizes and times of the pictures are the same and its pixels have the sum that they were written with.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::super::cache::Unfinished;
use super::super::dataset::ChannelStatistics;
use super::super::images::Images;
use super::super::picture::{PictureError, PictureProblem, Preprocess, read_picture};
use super::super::{DataError, LoadEvent, Stop};
use super::scan::{Item, below, bytes};
use crate::checksum;
use crate::files::write_atomic;

/// Bytes of pixels that are held in memory; more stay on disk.
pub(super) const IN_MEMORY: u64 = 1 << 28;
const PIXELS: &str = "pixels";
const INDEX: &str = "index.json";
const STATISTICS: &str = "statistics.json";
/// Goes into every key: another way of decoding makes other entries.
const VERSION: &str = "1";

/// The pixels of all pictures, `[n, H, W, C]`; those of pictures that cannot be read are zeros.
#[derive(Debug)]
pub(super) struct Pixels {
    held: Held,
    /// MD5 of them.
    pub(super) sum: String,
    /// Numbers of the pictures that cannot be read, with the reason.
    pub(super) bad: Vec<(usize, String)>,
    /// The cache's entry, if they are kept there.
    slot: Option<PathBuf>,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    Disk(PathBuf, File),
}

/// What stands beside the pixels.
#[derive(Serialize, Deserialize)]
struct Index {
    key: String,
    sum: String,
    bad: Vec<(usize, String)>,
}

/// Mean and deviation of the training images, for those who made them.
#[derive(Serialize, Deserialize)]
struct Known {
    of: String,
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// What is decoded, how and where to.
pub(super) struct Job<'a> {
    pub(super) folder: &'a Path,
    pub(super) items: &'a [Item],
    pub(super) preprocess: Preprocess,
    pub(super) threads: usize,
    pub(super) home: Option<&'a Path>,
    /// [`IN_MEMORY`]
    pub(super) in_memory: u64,
}

impl Job<'_> {
    /// Values of an image.
    fn size(&self) -> usize {
        self.preprocess.height * self.preprocess.width * self.preprocess.channels
    }

    fn total(&self) -> u64 {
        self.items.len() as u64 * self.size() as u64
    }

    /// One entry for a folder and size, so that old ones do not pile up.
    fn slot(&self) -> Option<PathBuf> {
        let folder = std::path::absolute(self.folder).ok()?;
        let name = [bytes(folder.as_os_str()), format!("{:?}", self.preprocess).as_bytes()].join(&0);
        Some(self.home?.join("cache").join(format!("folder-{}", checksum::of_bytes(&name))))
    }

    /// Of names, sizes and times of the pictures.
    fn key(&self) -> String {
        let mut text = format!("{VERSION} {:?}\n", self.preprocess).into_bytes();
        for item in self.items {
            let about = fs::metadata(&item.path).ok();
            let time = about.as_ref().and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok());
            let (bytes_of, time) = (about.map_or(0, |m| m.len()), time.unwrap_or_default().as_nanos());
            let name = item.path.strip_prefix(self.folder).unwrap_or(&item.path);
            text.extend(bytes(name.as_os_str()));
            text.extend(format!("\0{bytes_of} {time}\n").bytes());
        }
        checksum::of_bytes(&text)
    }

    /// The pixels, out of the cache or decoded.
    pub(super) fn run(&self, notify: &mut dyn FnMut(LoadEvent)) -> Result<Pixels, DataError> {
        let (slot, key) = (self.slot(), self.key());
        if let Some(slot) = &slot
            && let Some(pixels) = self.kept(slot, &key)
        {
            notify(LoadEvent::Reading { folder: slot.clone() });
            return Ok(pixels);
        }
        notify(LoadEvent::Pictures { done: 0, total: self.items.len() });
        if self.total() > self.in_memory {
            match slot
                .as_ref()
                .ok_or_else(|| io::Error::other("the program has no folder of its own"))
                .and_then(|slot| Ok((slot, self.start(slot)?)))
            {
                Ok((slot, (folder, file))) => return self.to_disk(slot, folder, file, &key, notify),
                Err(e) => {
                    notify(LoadEvent::Remark(format!("the decoded pictures stay in memory, they cannot be kept: {e}")))
                }
            }
        }
        let mut values = Vec::new();
        let too_large = || DataError::Folder {
            path: self.folder.to_owned(),
            why: format!("needs {} MiB of memory at this size, which cannot be had", self.total() >> 20),
        };
        let total = usize::try_from(self.total()).map_err(|_| too_large())?;
        values.try_reserve_exact(total).map_err(|_| too_large())?;
        values.resize(total, 0);
        let size = self.size();
        let bad = self.decode(notify, &mut |at, image| {
            values[at * size..][..size].copy_from_slice(image);
            Ok(())
        });
        let (bad, lasting) = bad.map_err(ended(self.folder))?;
        let sum = checksum::of_bytes(&values);
        let mut pixels = Pixels { held: Held::Memory(values), sum, bad, slot: None };
        if let (Some(slot), true) = (slot, lasting) {
            match self.keep(&slot, &key, &pixels) {
                Ok(()) => {
                    notify(LoadEvent::Cached { folder: slot.clone() });
                    pixels.slot = Some(slot);
                }
                Err(e) => notify(LoadEvent::Remark(format!("the decoded pictures cannot be kept for next time: {e}"))),
            }
        }
        Ok(pixels)
    }

    /// What the cache has, if it is of these pictures and whole.
    fn kept(&self, slot: &Path, key: &str) -> Option<Pixels> {
        let Index { key: of, sum, bad } = serde_json::from_slice(&fs::read(slot.join(INDEX)).ok()?).ok()?;
        let path = slot.join(PIXELS);
        let file = File::open(&path).ok()?;
        if of != key || file.metadata().ok()?.len() != self.total() || bad.iter().any(|(at, _)| *at >= self.items.len())
        {
            return None;
        }
        let held =
            if self.total() <= self.in_memory { Held::Memory(fs::read(&path).ok()?) } else { Held::Disk(path, file) };
        let found = match &held {
            Held::Memory(values) => checksum::of_bytes(values),
            Held::Disk(_, file) => checksum::of_reader(file).ok()?,
        };
        (found == sum).then(|| Pixels { held, sum, bad, slot: Some(slot.to_owned()) })
    }

    /// A new folder beside the entry's place, with an empty file for the pixels.
    fn start(&self, slot: &Path) -> io::Result<(Unfinished, File)> {
        let parent = slot.parent().unwrap_or(slot);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", parent.display()));
        let folder = Unfinished::new(parent).map_err(named)?;
        let path = folder.path().join(PIXELS);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(named)?;
        file.set_len(self.total()).map_err(named)?;
        Ok((folder, file))
    }

    fn keep(&self, slot: &Path, key: &str, pixels: &Pixels) -> io::Result<()> {
        let (folder, mut file) = self.start(slot)?;
        if let Held::Memory(values) = &pixels.held {
            file.write_all(values)?;
        }
        Self::finish(slot, folder, &Index { key: key.to_owned(), sum: pixels.sum.clone(), bad: pixels.bad.clone() })
    }

    /// Writes the index and puts the entry in its place, instead of an older one.
    fn finish(slot: &Path, folder: Unfinished, index: &Index) -> io::Result<()> {
        fs::write(folder.path().join(INDEX), serde_json::to_vec(index)?)?;
        folder.finish(slot)
    }

    fn to_disk(
        &self,
        slot: &Path,
        folder: Unfinished,
        mut file: File,
        key: &str,
        notify: &mut dyn FnMut(LoadEvent),
    ) -> Result<Pixels, DataError> {
        let path = folder.path().join(PIXELS);
        let size = self.size() as u64;
        let decoded = self.decode(notify, &mut |at, image| {
            file.seek(SeekFrom::Start(at as u64 * size))?;
            file.write_all(image)
        });
        let (bad, lasting) = decoded.map_err(ended(&path))?;
        file.rewind().map_err(DataError::io(&path))?;
        let sum = checksum::of_reader(&file).map_err(DataError::io(&path))?;
        let index = Index { key: key.to_owned(), sum: sum.clone(), bad: bad.clone() };
        // The file stays open: it can be read to the end of the run even where its name is gone.
        let kept = if lasting { Self::finish(slot, folder, &index) } else { Err(io::ErrorKind::Interrupted.into()) };
        let slot = match kept {
            Ok(()) => {
                notify(LoadEvent::Cached { folder: slot.to_owned() });
                Some(slot.to_owned())
            }
            Err(e) if lasting => {
                notify(LoadEvent::Remark(format!("the decoded pictures cannot be kept for next time: {e}")));
                None
            }
            Err(_) => None,
        };
        Ok(Pixels { held: Held::Disk(slot.as_ref().map_or(path, |slot| slot.join(PIXELS)), file), sum, bad, slot })
    }

    /// Decodes all pictures and gives them to `write` with their numbers, in any order. The bad ones, and whether they will be
    /// bad the next time: not if the system failed to give a file.
    fn decode(
        &self,
        notify: &mut dyn FnMut(LoadEvent),
        write: &mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
    ) -> io::Result<(Vec<(usize, String)>, bool)> {
        let (items, total) = (self.items, self.items.len());
        let (next, stop) = (AtomicUsize::new(0), Stop::default());
        let (send, results) = sync_channel::<(usize, Result<Vec<u8>, PictureError>)>(4 * self.threads);
        let (mut bad, mut lasting) = (Vec::new(), true);
        thread::scope(|scope| {
            let mut started = Err(io::ErrorKind::InvalidInput.into());
            for _ in 0..self.threads.max(1) {
                let (send, next, preprocess) = (send.clone(), &next, &self.preprocess);
                let work = move || {
                    while let Some((at, item)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
                    {
                        if send.send((at, read_picture(&item.path, preprocess))).is_err() {
                            break;
                        }
                    }
                };
                let spawned = thread::Builder::new().name("pictures".to_owned()).spawn_scoped(scope, work);
                // One thread is enough to come to an end.
                started = started.or(spawned.map(drop));
            }
            drop(send);
            started?;
            for (done, (at, result)) in results.into_iter().enumerate() {
                notify(LoadEvent::MayStop(stop.clone()));
                if stop.is_asked_for() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                match result {
                    Ok(image) => write(at, &image)?,
                    Err(PictureError { path, problem }) => {
                        lasting &= !matches!(problem, PictureProblem::Io(_));
                        bad.push((at, format!("{} {problem}", below(&path, self.folder))));
                    }
                }
                if (done + 1) % 16 == 0 || done + 1 == total {
                    notify(LoadEvent::Pictures { done: done + 1, total });
                }
            }
            Ok::<_, io::Error>(())
        })?;
        bad.sort_unstable();
        Ok((bad, lasting))
    }
}

/// Why decoding ended early: the caller wanted it, or a file failed.
fn ended(path: &Path) -> impl FnOnce(io::Error) -> DataError {
    let failed = DataError::io(path);
    move |e| if e.kind() == io::ErrorKind::Interrupted { DataError::Stopped } else { failed(e) }
}

impl Pixels {
    /// The images with these numbers for each of the parts.
    pub(super) fn parts<const N: usize>(self, size: usize, places: [Vec<u32>; N]) -> Result<[Images; N], DataError> {
        match self.held {
            Held::Memory(values) => Ok(places.map(|places| {
                let mut images = Vec::with_capacity(places.len() * size);
                places.iter().for_each(|&at| images.extend_from_slice(&values[at as usize * size..][..size]));
                images.into()
            })),
            Held::Disk(path, file) => {
                let mut files = Vec::new();
                for _ in 0..N {
                    files.push(file.try_clone().map_err(DataError::io(&path))?);
                }
                let mut files = files.into_iter();
                // As many files as parts.
                Ok(places.map(|places| match files.next() {
                    Some(file) => Images::on_disk(path.clone(), file, size, places),
                    None => Images::default(),
                }))
            }
        }
    }

    /// Where the statistics are kept.
    pub(super) fn statistics(&self) -> Option<PathBuf> {
        Some(self.slot.as_ref()?.join(STATISTICS))
    }
}

/// The statistics of what has this fingerprint: those in the file, else those that `compute` gives, which are kept.
pub(super) fn statistics(
    kept: Option<&Path>,
    fingerprint: &str,
    compute: impl FnOnce() -> Result<ChannelStatistics, DataError>,
) -> Result<ChannelStatistics, DataError> {
    let known = kept.and_then(|path| serde_json::from_slice::<Known>(&fs::read(path).ok()?).ok());
    if let Some(Known { mean, std, .. }) = known.filter(|known| known.of == fingerprint) {
        return Ok(ChannelStatistics { mean, std });
    }
    let statistics = compute()?;
    if let Some(path) = kept {
        let known = Known { of: fingerprint.to_owned(), mean: statistics.mean.clone(), std: statistics.std.clone() };
        // Without them the next run computes them again.
        let _ = write_atomic(path, |writer| Ok(serde_json::to_writer(writer, &known)?));
    }
    Ok(statistics)
}
