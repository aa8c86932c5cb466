//! Checkpoints in a file: what was written comes back, and whatever was damaged is refused and moved aside.

use super::*;
use crate::engine::cut::Extent;
use crate::engine::time::Time;
use crate::shell::checkpoint::Remembered;
use crate::shell::checkpoint::made::{engine, remembered, sample, state};

/// A directory of its own for each test, gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("regressd-checkpoint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Place(dir)
    }

    fn directory(&self) -> Directory {
        Directory::open(&self.0, "us").expect("a temporary directory")
    }

    fn file(&self) -> PathBuf {
        self.0.join(NAME)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(directory: &Directory) -> u64 {
    let cut = Cut::of(&mut engine(3), Extent::All, &remembered()).expect("plain state");
    directory.write(cut).expect("written").bytes
}

fn parse(bytes: &[u8]) -> Result<Recovered, String> {
    read(bytes, bytes.len() as u64, "us").map_err(|unfit| match unfit {
        Unfit::Bad(why) => why,
        Unfit::Disk(error) => panic!("{error}"),
    })
}

#[test]
fn what_was_written_is_read() {
    let place = Place::new("round");
    assert!(matches!(place.directory().read().expect("readable"), Found::Nothing));
    let size = write(&place.directory());
    assert_eq!(size, fs::metadata(place.file()).expect("there").len());
    let Found::Checkpoint(mut read) = place.directory().read().expect("readable") else { panic!("not found") };
    assert_eq!(read.remembered, remembered());
    assert!(state(&mut read.engine) == state(&mut engine(3)));
}

#[test]
fn it_holds_the_state_of_the_cut_whatever_comes_after() {
    let place = Place::new("cut");
    let mut engine = engine(3);
    let before = state(&mut engine);
    let cut = Cut::of(&mut engine, Extent::All, &remembered()).expect("plain state");
    sample(&mut engine, 1, 6);
    sample(&mut engine, 7, 6);
    place.directory().write(cut).expect("written");
    let Found::Checkpoint(mut read) = place.directory().read().expect("readable") else { panic!("not found") };
    assert!(state(&mut read.engine) == before && before != state(&mut engine));
}

#[test]
fn any_flipped_bit_and_any_cut_is_refused_and_moved_aside() {
    let place = Place::new("damage");
    let size = write(&place.directory()) as usize;
    let good = fs::read(place.file()).expect("there");
    assert!(parse(&good).is_ok());
    for at in 0..size {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert!(parse(&flipped).is_err(), "bit flipped in byte {at}");
        assert!(parse(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(parse(&[&good[..], b"x"].concat()).is_err(), "something follows");
    fs::write(place.file(), &good[..size - 1]).expect("written");
    let Found::Bad { why, moved_to } = place.directory().read().expect("readable") else { panic!("taken") };
    assert!(why.starts_with("torn"), "{why}");
    assert!(Path::new(&moved_to.expect("moved")).exists() && !place.file().exists());
    assert!(matches!(place.directory().read().expect("readable"), Found::Nothing), "no crash loop");
}

#[test]
fn a_part_that_is_missing_or_comes_twice_is_seen() {
    let place = Place::new("parts");
    write(&place.directory());
    let good = fs::read(place.file()).expect("there");
    let mut frames = Vec::new();
    let mut at = 12;
    while at < good.len() {
        let length = u64::from_le_bytes(good[at + 1..at + 9].try_into().expect("eight bytes")) as usize;
        frames.push(&good[at..at + FRAME + length]);
        at += FRAME + length;
    }
    assert_eq!(frames.len(), 5, "a head, three services, an end");
    let with = |order: &[usize]| {
        let frames: Vec<u8> = order.iter().flat_map(|n| frames[*n]).copied().collect();
        parse(&[&good[..12], &frames].concat()).map(|_| ())
    };
    assert_eq!(with(&[0, 1, 2, 3, 4]), Ok(()));
    for order in [&[0, 1, 2, 4][..], &[0, 1, 2, 2, 4], &[0, 1, 2, 3, 3, 4], &[1, 2, 3, 4], &[0, 2, 1, 3, 4]] {
        assert!(with(order).is_err(), "{order:?}");
    }
}

#[test]
fn what_is_of_another_format_or_group_is_refused() {
    let place = Place::new("foreign");
    write(&place.directory());
    let mut old = fs::read(place.file()).expect("there");
    old[8..12].copy_from_slice(&(FORMAT - 1).to_le_bytes());
    let why = parse(&old).err().expect("refused");
    assert!(why.starts_with(&format!("format {}, this build reads {FORMAT}", FORMAT - 1)), "{why}");
    let other = Directory::open(&place.0, "others").expect("the same directory");
    let Found::Bad { why, .. } = other.read().expect("readable") else { panic!("taken") };
    assert_eq!(why, "it belongs to the group \"us\", this daemon's is \"others\"");
}

#[test]
fn a_failed_write_leaves_the_last_checkpoint() {
    let place = Place::new("full");
    write(&place.directory());
    // A directory in the temporary file's place fails the write for every user, root included.
    fs::create_dir(place.0.join("checkpoint.new")).expect("created");
    let later = Remembered { now: Time(2), ..remembered() };
    let cut = Cut::of(&mut engine(1), Extent::All, &later).expect("plain state");
    assert!(place.directory().write(cut).is_err());
    let Found::Checkpoint(read) = place.directory().read().expect("readable") else { panic!("lost") };
    assert_eq!(read.remembered.now, Time(1_790));
}
