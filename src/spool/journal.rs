//! The journal of one slot: files that are appended to, one after the other. A file goes when none of its answers is kept
//! any more; the one that is written is emptied when nothing is.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use oauth_manager_actors::ports::spool::{SpoolTicket, SpooledAnswer};

use super::{
    frame::{self, Record},
    slot::FILE_MODE,
};

const PREFIX: &str = "journal-";
/// From this size on another file is begun, so that one whose answers are all settled can go.
pub(super) const FILE_BYTES_MAX: u64 = 8 << 20;
/// Up to this size a file with nothing to keep is left as it is: emptying it with every answer would cost more than it
/// frees.
pub(super) const FILE_BYTES_IDLE: u64 = 256 << 10;

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// Answers in it that are to be kept.
    kept: usize,
}

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// By number; the last one is written.
    segments: BTreeMap<u64, Segment>,
    active: u64,
    kept: HashMap<SpoolTicket, u64>,
    serial: u64,
    writes: u64,
}

/// The answers to keep in a folder's journal, oldest first, and its files.
pub(super) fn read(folder: &Path) -> io::Result<(Vec<PathBuf>, Vec<SpooledAnswer>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            files.push(entry.path());
        }
    }
    files.sort();
    let mut answers = BTreeMap::new();
    for path in &files {
        let (records, damaged) = frame::scan(&fs::read(path)?);
        if damaged > 0 {
            tracing::warn!(
                path = %path.display(), bytes = damaged,
                "a part of the spool is damaged, as by a machine that stopped while it was written; the rest is read"
            );
        }
        for record in records {
            match record {
                Record::Answer(ticket, answer) => drop(answers.insert(ticket, answer)),
                Record::Forgotten(ticket) => drop(answers.remove(&ticket)),
            }
        }
    }
    Ok((files, answers.into_values().collect()))
}

/// A number that none of these files has.
pub(super) fn next_number(files: &[PathBuf]) -> u64 {
    let number =
        |path: &PathBuf| -> Option<u64> { path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok() };
    files.iter().filter_map(number).max().map_or(0, |last| last + 1)
}

/// Removes files whose answers are elsewhere. One that stays is read again at the next start, harmlessly.
pub(super) fn remove(files: &[PathBuf]) {
    for path in files {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "a file of the spool that is not needed any more stays");
        }
    }
}

impl Journal {
    /// A new journal in this folder that begins with these answers; they outlive the machine when this returns.
    pub(super) fn begin(
        folder: &Path,
        number: u64,
        answers: Vec<SpooledAnswer>,
    ) -> io::Result<(Self, Vec<(SpoolTicket, SpooledAnswer)>)> {
        let mut journal = Self {
            folder: folder.to_owned(),
            segments: BTreeMap::new(),
            active: number,
            kept: HashMap::new(),
            serial: 0,
            writes: 0,
        };
        journal.open(number)?;
        let mut left = Vec::with_capacity(answers.len());
        for answer in answers {
            left.push((journal.put(&answer)?, answer));
        }
        let (_, files) = journal.unsynced();
        files.iter().try_for_each(|file| file.sync_all())?;
        Ok((journal, left))
    }

    fn open(&mut self, number: u64) -> io::Result<()> {
        let path = self.folder.join(format!("{PREFIX}{number:016}"));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(FILE_MODE)
            .open(&path)?;
        let segment = Segment {
            path,
            file: Arc::new(file),
            bytes: 0,
            kept: 0,
        };
        self.segments.insert(number, segment);
        self.active = number;
        Ok(())
    }

    pub(super) fn put(&mut self, answer: &SpooledAnswer) -> io::Result<SpoolTicket> {
        let ticket = SpoolTicket(self.serial + 1);
        let record = frame::answer(ticket, answer).ok_or_else(|| io::Error::other("an answer too long"))?;
        if self
            .segments
            .get(&self.active)
            .is_none_or(|active| active.bytes >= FILE_BYTES_MAX)
        {
            let full = self.active;
            self.open(full + 1)?;
            self.tidy(full);
        }
        self.append(&record)?;
        self.serial = ticket.0;
        self.kept.insert(ticket, self.active);
        if let Some(active) = self.segments.get_mut(&self.active) {
            active.kept += 1;
        }
        Ok(ticket)
    }

    pub(super) fn forget(&mut self, ticket: SpoolTicket) -> io::Result<()> {
        let Some(number) = self.kept.remove(&ticket) else {
            return Ok(());
        };
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.kept -= 1;
        }
        let idle_bytes = self.segments.get(&self.active).map_or(0, |active| active.bytes);
        if self.kept.is_empty() && idle_bytes >= FILE_BYTES_IDLE {
            self.empty()?;
        } else {
            self.append(&frame::forgotten(ticket))?;
        }
        self.tidy(number);
        Ok(())
    }

    /// One write, whole or not at all.
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let active = self
            .segments
            .get_mut(&self.active)
            .ok_or_else(|| io::Error::other("no journal is open"))?;
        if let Err(error) = (&*active.file).write_all(record) {
            // What was written of it would be taken for damage.
            let _ = active.file.set_len(active.bytes);
            return Err(error);
        }
        active.bytes += record.len() as u64;
        self.writes += 1;
        Ok(())
    }

    /// Nothing is kept: the written file begins afresh.
    fn empty(&mut self) -> io::Result<()> {
        if let Some(active) = self.segments.get_mut(&self.active) {
            active.file.set_len(0)?;
            active.bytes = 0;
        }
        Ok(())
    }

    /// Lets a file go that is not written any more and of which nothing is kept. What it says is forgotten may stand in
    /// one that stays: such an answer is offered again and refused.
    fn tidy(&mut self, number: u64) {
        let settled = self
            .segments
            .get(&number)
            .is_some_and(|segment| segment.kept == 0);
        if number != self.active
            && settled
            && let Some(segment) = self.segments.remove(&number)
        {
            remove(&[segment.path]);
        }
    }

    /// How many writes there were; and what to sync so that all of them outlive the machine.
    pub(super) fn unsynced(&self) -> (u64, Vec<Arc<File>>) {
        let mut files: Vec<_> = self
            .segments
            .values()
            .map(|segment| Arc::clone(&segment.file))
            .collect();
        // The folder: otherwise a file made lately might be missing in it.
        files.extend(File::open(&self.folder).map(Arc::new));
        (self.writes, files)
    }

    /// Writes to this file instead of the present one, for a test of what a disk may do.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        let active = self.segments.get_mut(&self.active).unwrap();
        let before = active.file.try_clone().unwrap();
        active.file = Arc::new(file);
        before
    }

    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    pub(super) fn depth(&self) -> usize {
        self.kept.len()
    }
}
