//! Records of a topic: what was written comes together again, and whatever is not all of one cut is refused.

use super::*;
use crate::engine::Engine;
use crate::engine::cut::Extent;
use crate::shell::checkpoint::Cut;
use crate::shell::checkpoint::made::{engine, remembered, sample, state};

type Records = BTreeMap<String, Vec<u8>>;

/// The records of a cut on top of those that are there, as the store writes them.
fn write(records: &mut Records, engine: &mut Engine, extent: Extent) {
    let cut = Cut::of(engine, extent, &remembered()).expect("plain state");
    let mut services: BTreeMap<u64, Entry> = BTreeMap::new();
    for key in records.keys() {
        if let Some(Part::Service(name, 0)) = Part::of("us", key) {
            let body = &records[key][HEADER..];
            services.insert(name, Entry { chunks: 1, crc: crc32fast::hash(body) });
        }
    }
    let mut put = |part: Part, chunk: u32, body: &[u8]| {
        records.insert(part.key("us"), record(5, chunk, chunks(body), body));
        Entry { chunks: chunks(body), crc: crc32fast::hash(body) }
    };
    let mut head = Entry { chunks: 0, crc: 0 };
    for chunk in 0..chunks(&cut.head) {
        head = put(Part::Head(chunk), chunk, &cut.head);
    }
    for share in &cut.shares {
        let body = postcard::to_stdvec(share).expect("plain state");
        services.insert(share.name(), put(Part::Service(share.name(), 0), 0, &body));
    }
    let whole = Whole { heads: head.chunks, services: cut.services as u64, digest: digest(head, &services) };
    put(Part::Cut, 0, &whole.to_bytes());
}

fn assemble(records: &Records) -> Result<Recovered, String> {
    let mut gathered = Gathered::default();
    records.iter().for_each(|(key, value)| gathered.take("us", key.as_bytes(), Some(value)));
    match gathered.assemble("us") {
        Assembled::State(recovered, _) => Ok(*recovered),
        Assembled::Bad(why) => Err(why),
        Assembled::Nothing => Err("nothing".into()),
    }
}

#[test]
fn what_changed_joins_what_did_not() {
    let (mut records, mut engine) = (Records::new(), engine(3));
    write(&mut records, &mut engine, Extent::All);
    let before = records.clone();
    sample(&mut engine, 1, 6);
    sample(&mut engine, 3, 6);
    write(&mut records, &mut engine, Extent::Changed);
    let same = before.iter().filter(|(key, value)| records.get(*key) == Some(*value)).count();
    assert_eq!((before.len(), records.len(), same), (5, 6, 2), "two services were left alone");
    let mut recovered = assemble(&records).expect("whole");
    assert_eq!(recovered.remembered, remembered());
    assert!(state(&mut recovered.engine) == state(&mut engine));
}

#[test]
fn whatever_is_not_all_of_one_cut_is_refused() {
    let (mut records, mut engine) = (Records::new(), engine(3));
    write(&mut records, &mut engine, Extent::All);
    let before = records.clone();
    (0..3).for_each(|n| sample(&mut engine, n, 6));
    write(&mut records, &mut engine, Extent::Changed);
    assert!(assemble(&records).is_ok());
    for key in records.keys() {
        let mut less = records.clone();
        less.remove(key);
        assert!(assemble(&less).is_err(), "without {key}");
        let mut older = records.clone();
        older.insert(key.clone(), before[key].clone());
        assert!(assemble(&older).is_err(), "with an older {key}");
        for at in (0..records[key].len()).step_by(7) {
            let mut flipped = records.clone();
            flipped.get_mut(key).expect("there")[at] ^= 0x10;
            assert!(assemble(&flipped).is_err(), "bit flipped in byte {at} of {key}");
        }
    }
    let mut more = records.clone();
    more.insert(Part::Service(7, 0).key("us"), records.values().next().expect("some").clone());
    assert!(assemble(&more).is_err(), "with one more");
}

#[test]
fn a_note_is_no_part_of_the_state() {
    let (mut records, mut engine) = (Records::new(), engine(1));
    let mut gathered = Gathered::default();
    gathered.take("us", Part::Note.key("us").as_bytes(), Some(b"metrics 1 7\n"));
    gathered.take("them", Part::Note.key("us").as_bytes(), Some(b"theirs"));
    assert_eq!(gathered.take_note().as_deref(), Some("metrics 1 7\n"));
    assert!(matches!(gathered.assemble("us"), Assembled::Nothing));
    write(&mut records, &mut engine, Extent::All);
    assert!(assemble(&records).is_ok());
    assert_eq!(gathered.take_note(), None);
}

#[test]
fn an_older_format_is_named() {
    let (mut records, mut engine) = (Records::new(), engine(1));
    write(&mut records, &mut engine, Extent::All);
    records.values_mut().for_each(|value| value[..4].copy_from_slice(&(FORMAT - 1).to_le_bytes()));
    let why = assemble(&records).err().expect("refused");
    assert!(why.starts_with(&format!("format {}, this build reads {FORMAT}", FORMAT - 1)), "{why}");
    assert!(matches!(Gathered::default().assemble("us"), Assembled::Nothing));
}

#[test]
fn a_large_part_takes_several_records() {
    let body: Vec<u8> = (0..2 * CHUNK + 5).map(|n| (n % 251) as u8).collect();
    let mut gathered = Gathered::default();
    assert_eq!(chunks(&body), 3);
    for chunk in 0..3 {
        let value = record(9, chunk, 3, &body);
        gathered.take("us", Part::Head(chunk).key("us").as_bytes(), Some(&value));
    }
    assert_eq!(gathered.part(Part::Head), Ok(Some(body)));
    gathered.take("us", Part::Head(1).key("us").as_bytes(), None);
    assert!(gathered.part(Part::Head).is_err());
}

#[test]
fn states_of_others_are_nobodys_affair() {
    for part in [Part::Head(3), Part::Service(0xabc, 0), Part::Cut, Part::Note] {
        assert_eq!(Part::of("us", &part.key("us")), Some(part));
        assert_eq!(Part::of("us", &part.key("us/two")), None);
        assert_eq!(Part::of("us/two", &part.key("us")), None);
    }
    assert_eq!(Part::of("us", "us/head/x"), None);
}
