//! The last so many bins that hold anything, in columns.
//!
//! Nearly all rings hold minutes in a row, and most of them bins of one denominator: a sample a minute, a count of it.
//! Of those only the numerators are kept, 4 bytes a bin; a column of denominators is there while they differ, one of
//! minutes while any is missing. The newest bin is open: it is kept as it is and joins the columns when a later one
//! opens, as a minute that is still filling is like no other. What is late finds its bin, or makes it.

use super::{Bin, Minute};
use std::ops::Range;

/// The newest `limit` bins, in order of time, none twice. 48 bytes, and 4 to 12 a bin.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Bits of the numerators, then those of the denominators, then the minutes, as far as these are kept. Each column
    /// is a ring of its own that begins at `head`.
    columns: Box<[u32]>,
    /// None where the ring is empty.
    open: Option<Bin>,
    /// The closed bins' where denominators have no column.
    den: f32,
    /// How long a column is, where the oldest closed bin stands in each, and how many there are.
    capacity: u16,
    head: u16,
    closed: u16,
    /// Of the newest closed bins, how many have one denominator for sure, and lie a minute apart up to the open one.
    alike: u16,
    in_row: u16,
    has_dens: bool,
    has_minutes: bool,
}

impl Ring {
    /// Changes the bin of `minute`, made if need be; false if it lies before everything a full ring remembers.
    pub fn change(&mut self, minute: Minute, limit: usize, change: impl FnOnce(&mut Bin)) -> bool {
        match &mut self.open {
            Some(open) if open.minute == minute => {
                change(open);
                return true;
            }
            Some(open) if open.minute > minute => return self.change_closed(minute, limit, change),
            Some(open) => {
                let open = *open;
                self.close(open, minute, limit);
            }
            None => {}
        }
        change(self.open.insert(Bin { minute, num: 0.0, den: 0.0 }));
        true
    }

    /// Puts a bin in the place of its minute's.
    pub fn set(&mut self, bin: Bin, limit: usize) -> bool {
        self.change(bin.minute, limit, |slot| *slot = bin)
    }

    pub fn len(&self) -> usize {
        usize::from(self.closed) + usize::from(self.open.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_none()
    }

    pub fn last(&self) -> Option<Bin> {
        self.open
    }

    pub fn first(&self) -> Option<Bin> {
        self.get(0)
    }

    pub fn get(&self, place: usize) -> Option<Bin> {
        let (open, closed) = (self.open?, usize::from(self.closed));
        if place >= closed {
            return (place == closed).then_some(open);
        }
        let (at, column) = (self.at_place(place), self.capacity());
        let num = f32::from_bits(self.columns[at]);
        let den = if self.has_dens { f32::from_bits(self.columns[column + at]) } else { self.den };
        let minute = match self.has_minutes {
            true => self.columns[self.columns.len() - column + at].cast_signed(),
            false => open.minute - (closed - place) as Minute,
        };
        Some(Bin { minute, num, den })
    }

    pub fn at(&self, minute: Minute) -> Option<Bin> {
        self.get(self.place_of(minute)).filter(|bin| bin.minute == minute)
    }

    /// How many bins lie before `minute`: the place of the first that doesn't.
    pub fn place_of(&self, minute: Minute) -> usize {
        let Some(open) = self.open.filter(|open| open.minute >= minute) else { return self.len() };
        let closed = usize::from(self.closed);
        // Most rings miss no minute: then its distance from the last one is its place. Else it lies before the row.
        let back = (i64::from(open.minute) - i64::from(minute)) as usize;
        if back <= usize::from(self.in_row) {
            return closed - back;
        }
        let (mut low, mut high) = (0, closed - usize::from(self.in_row));
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.get(middle).is_some_and(|bin| bin.minute < minute) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Bins in `[from, to)`, oldest first.
    pub fn between(&self, from: Minute, to: Minute) -> Places<'_> {
        self.places(self.place_of(from), self.place_of(to))
    }

    /// Bins at the places `[from, to)`, oldest first.
    pub fn places(&self, from: usize, to: usize) -> Places<'_> {
        Places { ring: self, left: from..to.min(self.len()) }
    }

    /// From bins in order of time.
    pub fn of(bins: &[Bin]) -> Ring {
        let mut ring = Ring::default();
        ring.arrange(bins.len().saturating_sub(1).min(u16::MAX.into()), false, false);
        for &bin in bins {
            ring.set(bin, bins.len());
        }
        ring
    }

    fn capacity(&self) -> usize {
        self.capacity.into()
    }

    /// Where a closed bin stands in each column.
    fn at_place(&self, place: usize) -> usize {
        let at = usize::from(self.head) + place;
        at.checked_sub(self.capacity()).unwrap_or(at)
    }

    fn change_closed(&mut self, minute: Minute, limit: usize, change: impl FnOnce(&mut Bin)) -> bool {
        let place = self.place_of(minute);
        let known = self.get(place).filter(|bin| bin.minute == minute);
        if known.is_none() && place == 0 && self.len() >= limit {
            return false;
        }
        let mut bin = known.unwrap_or(Bin { minute, num: 0.0, den: 0.0 });
        let before = bin.den.to_bits();
        change(&mut bin);
        if known.is_some() && (self.has_dens || bin.den.to_bits() == before) {
            if bin.den.to_bits() != before {
                self.alike = self.alike.min(self.closed - 1 - place as u16);
            }
            self.write(place, bin);
            return true;
        }
        // Another bin in the midst of the columns, or other columns: seldom enough to put all of them together anew.
        let mut bins: Vec<Bin> = self.places(0, self.len()).collect();
        match known {
            Some(_) => bins[place] = bin,
            None => bins.insert(place, bin),
        }
        let surplus = bins.len().saturating_sub(limit);
        *self = Ring::of(&bins[surplus..]);
        true
    }

    /// Puts the open bin into the columns, before one of minute `next` opens.
    fn close(&mut self, open: Bin, next: Minute, limit: usize) {
        let most = limit.clamp(2, usize::from(u16::MAX)) - 1;
        while usize::from(self.closed) >= most {
            self.head = if usize::from(self.head) + 1 == self.capacity() { 0 } else { self.head + 1 };
            self.closed -= 1;
        }
        let closed = self.closed + 1;
        let like_last =
            self.closed > 0 && self.get(usize::from(self.closed) - 1).is_some_and(|last| same(last.den, open.den));
        self.alike = if like_last { self.alike.saturating_add(1).min(closed) } else { 1 };
        let follows = open.minute.checked_add(1) == Some(next);
        let in_row = if follows { self.in_row.saturating_add(1).min(closed) } else { 0 };
        let has_dens = if self.has_dens { self.alike < closed } else { self.closed > 0 && !same(self.den, open.den) };
        let has_minutes = if self.has_minutes { in_row < closed } else { !follows };
        let full = usize::from(self.closed) == self.capacity();
        if full || has_dens != self.has_dens || has_minutes != self.has_minutes {
            let capacity = if full { (2 * self.capacity()).clamp(4.min(most), most) } else { self.capacity() };
            self.arrange(capacity, has_dens, has_minutes);
        }
        if !has_dens {
            self.den = open.den;
        }
        (self.closed, self.in_row) = (closed, in_row);
        self.write(usize::from(closed) - 1, open);
    }

    /// Gives the columns another length, or adds and drops some.
    fn arrange(&mut self, capacity: usize, has_dens: bool, has_minutes: bool) {
        let mut columns = vec![0; capacity * (1 + usize::from(has_dens) + usize::from(has_minutes))];
        let minutes = columns.len() - capacity;
        for (at, bin) in self.places(0, usize::from(self.closed)).enumerate() {
            columns[at] = bin.num.to_bits();
            if has_dens {
                columns[capacity + at] = bin.den.to_bits();
            }
            if has_minutes {
                columns[minutes + at] = bin.minute.cast_unsigned();
            }
        }
        (self.columns, self.capacity, self.head) = (columns.into(), capacity as u16, 0);
        (self.has_dens, self.has_minutes) = (has_dens, has_minutes);
    }

    fn write(&mut self, place: usize, bin: Bin) {
        let (at, column) = (self.at_place(place), self.capacity());
        self.columns[at] = bin.num.to_bits();
        if self.has_dens {
            self.columns[column + at] = bin.den.to_bits();
        }
        if self.has_minutes {
            let minutes = self.columns.len() - column;
            self.columns[minutes + at] = bin.minute.cast_unsigned();
        }
    }
}

/// Bins in order of time. Taken all at once (`for_each`, `fold`) they cost a fraction of what they cost one by one.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    ring: &'a Ring,
    left: Range<usize>,
}

impl Iterator for Places<'_> {
    type Item = Bin;

    fn next(&mut self) -> Option<Bin> {
        self.ring.get(self.left.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    fn fold<B, F: FnMut(B, Bin) -> B>(self, init: B, mut each: F) -> B {
        let (ring, Range { start, end }) = (self.ring, self.left);
        let Some(open) = ring.open.filter(|_| !ring.has_dens && !ring.has_minutes) else {
            return (start..end).filter_map(|place| ring.get(place)).fold(init, each);
        };
        let (mut folded, mut place, closed) = (init, start, usize::from(ring.closed));
        while place < end.min(closed) {
            // As far as the column goes before it begins again.
            let at = ring.at_place(place);
            let many = (ring.columns.len() - at).min(end.min(closed) - place);
            let first = open.minute - (closed - place) as Minute;
            for (minute, &num) in (first..).zip(&ring.columns[at..at + many]) {
                folded = each(folded, Bin { minute, num: f32::from_bits(num), den: ring.den });
            }
            place += many;
        }
        if start <= closed && closed < end { each(folded, open) } else { folded }
    }
}

impl DoubleEndedIterator for Places<'_> {
    fn next_back(&mut self) -> Option<Bin> {
        self.ring.get(self.left.next_back()?)
    }
}

impl ExactSizeIterator for Places<'_> {}

/// Bit for bit.
fn same(one: f32, other: f32) -> bool {
    one.to_bits() == other.to_bits()
}

/// The columns are no part of what a ring holds.
impl PartialEq for Ring {
    fn eq(&self, other: &Ring) -> bool {
        self.len() == other.len() && self.places(0, self.len()).eq(other.places(0, other.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(ring: &Ring) -> Vec<Minute> {
        ring.places(0, ring.len()).map(|bin| bin.minute).collect()
    }

    #[test]
    fn keeps_the_newest_in_order_whatever_the_order_of_arrival() {
        let mut ring = Ring::default();
        for minute in [5, 7, 6, 9, 8, 7] {
            assert!(ring.change(minute, 4, |bin| bin.num += 1.0), "within the ring");
        }
        assert_eq!(minutes(&ring), [6, 7, 8, 9]);
        assert_eq!(ring.at(7).map(|bin| bin.num), Some(2.0));
        assert!(!ring.change(3, 4, |_| ()), "older than all a full ring remembers");
        assert_eq!(ring.between(7, 9).count(), 2);
    }

    #[test]
    fn places_are_found_with_and_without_gaps() {
        for minutes in [vec![5, 6, 7, 8], vec![5, 6, 9, 30], vec![i32::MIN, i32::MAX], vec![4], vec![]] {
            let mut ring = Ring::default();
            for &minute in &minutes {
                ring.change(minute, 10, |_| ());
            }
            for asked in (0..40).chain([i32::MIN, i32::MAX]) {
                assert_eq!(ring.place_of(asked), minutes.iter().filter(|&&minute| minute < asked).count());
                assert_eq!(ring.at(asked).is_some(), minutes.contains(&asked));
            }
        }
    }

    /// What a ring should do: bins in a row, sorted.
    #[derive(Default)]
    struct Plain(Vec<Bin>);

    impl Plain {
        fn change(&mut self, minute: Minute, limit: usize, change: impl FnOnce(&mut Bin)) -> bool {
            let place = self.0.partition_point(|bin| bin.minute < minute);
            if self.0.get(place).is_none_or(|bin| bin.minute != minute) {
                if place == 0 && self.0.len() >= limit {
                    return false;
                }
                self.0.insert(place, Bin { minute, num: 0.0, den: 0.0 });
                change(&mut self.0[place]);
                let surplus = self.0.len().saturating_sub(limit);
                self.0.drain(..surplus);
            } else {
                change(&mut self.0[place]);
            }
            true
        }
    }

    #[test]
    fn columns_hold_what_plain_bins_would() {
        let mut seed = 1_u64;
        let mut dice = |sides: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % sides
        };
        for round in 0..400 {
            let (limit, mut ring, mut plain) = (2 + dice(9) as usize, Ring::default(), Plain::default());
            // How often minutes are missing, denominators differ and bins are late: from never to often.
            let (missing, uneven, late) = (1 + dice(8), 1 + dice(8), 1 + dice(8));
            let mut minute = dice(100) as Minute;
            for _ in 0..100 {
                minute += if dice(missing) > 4 { dice(4) as Minute } else { 1 };
                let at = minute - if dice(late) > 4 { dice(12) as Minute } else { 0 };
                let (num, den) = (dice(5) as f32, if dice(uneven) > 4 { dice(3) as f32 } else { 1.0 });
                let set = dice(2) == 0;
                let change = |bin: &mut Bin| match set {
                    true => (bin.num, bin.den) = (num, den),
                    false => (bin.num, bin.den) = (bin.num + num, bin.den + den),
                };
                assert_eq!(ring.change(at, limit, change), plain.change(at, limit, change), "round {round}");
                let mut held = Vec::new();
                ring.places(0, limit).for_each(|bin| held.push(bin));
                assert_eq!(held, plain.0, "round {round}");
                for asked in minute - 20..minute + 3 {
                    assert_eq!(ring.place_of(asked), plain.0.partition_point(|bin| bin.minute < asked));
                }
                let (from, to) = (at - 3, at + 2);
                let between = plain.0.iter().filter(|bin| from <= bin.minute && bin.minute < to);
                assert!(ring.between(from, to).eq(between.copied()));
                let (from, to) = (dice(12) as usize, dice(12) as usize);
                let sum = ring.places(from, to).fold(0, |sum, bin| sum * 3 + bin.minute % 3);
                let plainly = plain.0.iter().take(to).skip(from).fold(0, |sum, bin| sum * 3 + bin.minute % 3);
                assert_eq!(sum, plainly);
                assert_eq!(Ring::of(&held), ring);
            }
        }
    }

    #[test]
    fn columns_are_dropped_where_all_is_even_again() {
        let mut ring = Ring::default();
        for minute in (0..40).chain(42..100).chain(101..300) {
            ring.set(Bin { minute, num: 1.0, den: if minute == 30 { 2.0 } else { 1.0 } }, 72);
        }
        assert_eq!((ring.len(), ring.columns.len()), (72, 71));
        ring.set(Bin { minute: 400, num: 1.0, den: 3.0 }, 72);
        assert_eq!(ring.columns.len(), 2 * 71, "a minute is missing");
        ring.set(Bin { minute: 401, num: 1.0, den: 3.0 }, 72);
        assert_eq!(ring.columns.len(), 3 * 71, "and one has another denominator");
        (402..600).for_each(|minute| _ = ring.set(Bin { minute, num: 1.0, den: 3.0 }, 72));
        assert_eq!(ring.columns.len(), 71);
    }
}
