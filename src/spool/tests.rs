//! The journal on a real disk: what is cut off, altered, shared, filled up and emptied.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use oauth_manager_actors::{
    domain::sealed::Sealed,
    ports::spool::{Spool as _, SpooledAnswer},
};

use super::{FileSpool, frame, journal};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("oauth-manager-spool-{}", uuid::Uuid::now_v7().simple())))
    }

    fn open(&self) -> FileSpool {
        FileSpool::open(&self.0).unwrap()
    }

    /// Every file of the journals in it.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for slot in fs::read_dir(&self.0).unwrap() {
            let (found, _) = journal::read(&slot.unwrap().path()).unwrap();
            files.extend(found);
        }
        files
    }

    fn bytes(&self) -> u64 {
        self.files()
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn answer(generation: i64) -> SpooledAnswer {
    sized(generation, 500)
}

fn sized(generation: i64, bytes: usize) -> SpooledAnswer {
    let id = format!("acme_{}", uuid::Uuid::now_v7().simple());
    SpooledAnswer {
        id: id.parse().unwrap(),
        generation,
        // Among it the mark of a record, which sealed bytes may well contain.
        sealed: Sealed(b"oms1 sealed ".iter().copied().cycle().take(bytes).collect()),
    }
}

fn left(spool: &FileSpool) -> Vec<SpooledAnswer> {
    spool.left().into_iter().map(|(_, answer)| answer).collect()
}

#[test]
fn what_was_put_in_and_not_forgotten_is_there_after_a_restart() {
    let folder = Folder::new();
    let answers: Vec<_> = (0..5).map(answer).collect();
    let spool = folder.open();
    let tickets: Vec<_> = answers.iter().map(|answer| spool.put(answer).unwrap()).collect();
    spool.forget(tickets[1]).unwrap();
    spool.forget(tickets[3]).unwrap();
    assert_eq!(spool.depth(), 3);
    drop(spool);
    for _ in 0..2 {
        // Read, and not offered: it is there again at the next start.
        let spool = folder.open();
        assert_eq!(
            left(&spool),
            [answers[0].clone(), answers[2].clone(), answers[4].clone()]
        );
        assert_eq!(left(&spool), []);
        assert_eq!(spool.depth(), 3);
    }
    let spool = folder.open();
    for (ticket, _) in spool.left() {
        spool.forget(ticket).unwrap();
    }
    drop(spool);
    assert_eq!(left(&folder.open()), []);
}

#[test]
fn a_torn_tail_costs_the_record_that_was_being_written_and_no_other() {
    let folder = Folder::new();
    let (first, second) = (answer(1), answer(2));
    let spool = folder.open();
    spool.put(&first).unwrap();
    let whole = folder.bytes();
    spool.put(&second).unwrap();
    drop(spool);
    let [file] = &folder.files()[..] else {
        panic!("one file")
    };
    let bytes = fs::read(file).unwrap();
    for length in whole..bytes.len() as u64 {
        let (records, damaged) = frame::scan(&bytes[..length as usize]);
        assert_eq!((records.len() as u64, damaged as u64), (1, length - whole));
    }
    fs::write(file, &bytes[..bytes.len() - 7]).unwrap();
    let spool = folder.open();
    assert_eq!(left(&spool), std::slice::from_ref(&first));
    // And writing goes on.
    spool.put(&second).unwrap();
    drop(spool);
    assert_eq!(left(&folder.open()), [first, second]);
}

#[test]
fn any_flipped_bit_costs_its_record_and_no_other() {
    let answers = [sized(1, 40), sized(2, 40), sized(3, 40)];
    let record = |serial: u64| {
        let ticket = oauth_manager_actors::ports::spool::SpoolTicket(serial);
        frame::answer(ticket, &answers[serial as usize]).unwrap()
    };
    let (before, middle, after) = (record(0), record(1), record(2));
    for bit in 0..middle.len() * 8 {
        let mut damaged = middle.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (records, skipped) = frame::scan(&[&before[..], &damaged, &after].concat());
        let found: Vec<_> = records
            .into_iter()
            .map(|record| match record {
                frame::Record::Answer(_, answer) => answer,
                frame::Record::Forgotten(_) => panic!("nothing was forgotten"),
            })
            .collect();
        assert_eq!(found, [answers[0].clone(), answers[2].clone()], "bit {bit}");
        assert_eq!(skipped, middle.len());
    }
}

#[test]
fn two_processes_on_one_directory_do_not_share_a_journal() {
    let folder = Folder::new();
    let (one, two) = (folder.open(), folder.open());
    one.put(&answer(1)).unwrap();
    two.put(&answer(2)).unwrap();
    assert_eq!((one.depth(), two.depth()), (1, 1));
    // A third one takes nothing that is in use ...
    let three = folder.open();
    assert_eq!(left(&three), []);
    drop(three);
    // ... and what nobody uses any more.
    drop(two);
    drop(one);
    let one = folder.open();
    let mut generations: Vec<_> = left(&one).iter().map(|answer| answer.generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, [1, 2]);
    assert_eq!(folder.files().len(), 1, "taken over, not copied");
}

#[test]
fn settled_answers_take_no_room() {
    let folder = Folder::new();
    let spool = folder.open();
    // Nothing kept in between: one file, begun afresh again and again.
    for serial in 0..2_000 {
        let ticket = spool.put(&sized(serial, 2_000)).unwrap();
        spool.forget(ticket).unwrap();
        assert!(
            folder_bytes_at_most(&folder, journal::FILE_BYTES_IDLE + 4_096),
            "{serial}"
        );
    }
    // Something always kept: files follow each other, and settled ones go.
    let mut kept = Vec::new();
    for serial in 0..12_000 {
        kept.push(spool.put(&sized(serial, 2_000)).unwrap());
        if kept.len() > 32 {
            spool.forget(kept.remove(0)).unwrap();
        }
    }
    assert!(folder.files().len() <= 2);
    drop(spool);
    let left: Vec<_> = left(&folder.open())
        .iter()
        .map(|answer| answer.generation)
        .collect();
    assert_eq!(left, (12_000 - 32..12_000).collect::<Vec<_>>());
}

fn folder_bytes_at_most(folder: &Folder, most: u64) -> bool {
    folder.bytes() <= most
}

#[tokio::test]
async fn it_is_read_and_written_by_nobody_else_and_syncs() {
    let folder = Folder::new();
    let spool = folder.open();
    spool.put(&answer(1)).unwrap();
    spool.sync().await.unwrap();
    spool.sync().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let slot = folder.0.join("slot-00");
    assert_eq!(
        (mode(&folder.0), mode(&slot), mode(&slot.join("lock"))),
        (0o700, 0o700, 0o600)
    );
    for file in folder.files() {
        assert_eq!(mode(&file), 0o600);
    }
}

#[test]
fn a_directory_that_cannot_be_one_is_refused_with_its_name() {
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let error = FileSpool::open(&file.join("spool")).unwrap_err().to_string();
    assert!(error.contains("file/spool cannot be used: "), "{error}");
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_torn_behind() {
    // The one file system of a Linux machine that is always full.
    let full = fs::OpenOptions::new().append(true).open("/dev/full");
    let Ok(full) = full else {
        return;
    };
    let folder = Folder::new();
    let spool = folder.open();
    let first = answer(1);
    spool.put(&first).unwrap();
    let whole = spool.journal().replace_file(full);
    assert!(spool.put(&answer(2)).is_err());
    assert_eq!(spool.depth(), 1);
    spool.journal().replace_file(whole);
    let third = answer(3);
    spool.put(&third).unwrap();
    drop(spool);
    assert_eq!(left(&folder.open()), [first, third]);
}
