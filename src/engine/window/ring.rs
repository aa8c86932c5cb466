//! The last so many bins that hold anything, in columns.
//!
//! Nearly all rings hold minutes in a row, and most of them bins of one denominator: a sample a minute, a count of it.
//! Of those only the numerators are kept; a column of denominators is there while they differ, one of minutes while any
//! is missing. Where all of a column are small counts they take 2 bytes each, else 4. The newest bin is open: it is
//! kept as it is and joins the columns when a later one opens, as a minute that is still filling is like no other. What
//! is late finds its bin, or makes it.

use super::{Bin, Minute};
use std::ops::Range;

/// The newest `limit` bins, in order of time, none twice. 48 bytes, and 2 to 12 a bin.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// The numerators, then the denominators, then the minutes, as far as these are kept. Each column is a ring of its
    /// own that begins at `head`.
    columns: Box<[u16]>,
    /// None where the ring is empty.
    open: Option<Bin>,
    /// The closed bins' where denominators have no column.
    den: f32,
    /// How long a column is, where the oldest closed bin stands in each, and how many there are.
    capacity: u16,
    head: u16,
    closed: u16,
    /// Of the newest closed bins, how many lie a minute apart up to the open one.
    in_row: u16,
    shape: Shape,
}

/// Which columns there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Shape {
    nums: Width,
    dens: Option<Width>,
    has_minutes: bool,
}

/// How a column's numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub(super) enum Width {
    /// As counts.
    #[default]
    Narrow,
    /// By their bits.
    Wide,
}

impl Width {
    /// In which a number loses nothing.
    fn of(number: f32) -> Width {
        if same(f32::from(number as u16), number) { Width::Narrow } else { Width::Wide }
    }

    pub(super) fn of_all(numbers: impl Iterator<Item = f32>) -> Width {
        if numbers.map(Width::of).any(|width| width == Width::Wide) { Width::Wide } else { Width::Narrow }
    }

    /// The wider one.
    fn or(self, other: Width) -> Width {
        if self == Width::Narrow { other } else { self }
    }

    fn words(self) -> usize {
        match self {
            Width::Narrow => 1,
            Width::Wide => 2,
        }
    }

    fn read(self, column: &[u16], at: usize) -> f32 {
        match self {
            Width::Narrow => column[at].into(),
            Width::Wide => f32::from_bits(double(column, at)),
        }
    }

    fn write(self, column: &mut [u16], at: usize, number: f32) {
        match self {
            Width::Narrow => column[at] = number as u16,
            Width::Wide => set_double(column, at, number.to_bits()),
        }
    }
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
        let at = self.at_place(place);
        let num = self.shape.nums.read(&self.columns, at);
        let den = self.shape.dens.map_or(self.den, |width| width.read(&self.columns[self.dens()..], at));
        let minute = match self.shape.has_minutes {
            true => double(&self.columns[self.minutes()..], at).cast_signed(),
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
        let shape = Shape { nums: Width::of_all(bins.iter().map(|bin| bin.num)), ..Shape::default() };
        ring.arrange(bins.len().saturating_sub(1).min(u16::MAX.into()), shape);
        for &bin in bins {
            ring.set(bin, bins.len());
        }
        ring
    }

    fn capacity(&self) -> usize {
        self.capacity.into()
    }

    /// Where the column of denominators begins, if there is one.
    fn dens(&self) -> usize {
        self.capacity() * self.shape.nums.words()
    }

    /// Where the column of minutes begins, if there is one.
    fn minutes(&self) -> usize {
        self.columns.len() - 2 * self.capacity()
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
        let fits = Width::of(bin.num) <= self.shape.nums
            && (bin.den.to_bits() == before || self.shape.dens.is_some_and(|width| Width::of(bin.den) <= width));
        if known.is_some() && fits {
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
        let mut shape = self.shape;
        while usize::from(self.closed) >= most {
            self.head = if usize::from(self.head) + 1 == self.capacity() { 0 } else { self.head + 1 };
            self.closed -= 1;
            if self.head == 0 {
                // Once in a round it is seen whether the bin is gone for which a column is there, or wide.
                shape = self.narrowest();
            }
        }
        let closed = self.closed + 1;
        let follows = open.minute.checked_add(1) == Some(next);
        let in_row = if follows { self.in_row.saturating_add(1).min(closed) } else { 0 };
        let known = shape.dens.or((self.closed > 0 && !same(self.den, open.den)).then(|| Width::of(self.den)));
        shape.dens = known.map(|width| width.or(Width::of(open.den)));
        shape.nums = shape.nums.or(Width::of(open.num));
        shape.has_minutes = if shape.has_minutes { in_row < closed } else { !follows };
        let full = usize::from(self.closed) == self.capacity();
        if full || shape != self.shape {
            let capacity = if full { (2 * self.capacity()).clamp(4.min(most), most) } else { self.capacity() };
            self.arrange(capacity, shape);
        }
        if shape.dens.is_none() {
            self.den = open.den;
        }
        (self.closed, self.in_row) = (closed, in_row);
        self.write(usize::from(closed) - 1, open);
    }

    /// The columns that are needed for the closed bins. The minutes' is known as it goes.
    fn narrowest(&mut self) -> Shape {
        let bins = || self.places(0, usize::from(self.closed));
        let first = bins().next().map_or(self.den, |bin| bin.den);
        let uneven = self.shape.dens.is_some() && bins().any(|bin| !same(bin.den, first));
        let dens = uneven.then(|| Width::of_all(bins().map(|bin| bin.den)));
        let shape = Shape { nums: Width::of_all(bins().map(|bin| bin.num)), dens, ..self.shape };
        if !uneven {
            self.den = first;
        }
        shape
    }

    /// Gives the columns another length, adds and drops some, or keeps their numbers otherwise.
    fn arrange(&mut self, capacity: usize, shape: Shape) {
        let words = shape.nums.words() + shape.dens.map_or(0, Width::words) + if shape.has_minutes { 2 } else { 0 };
        let columns = vec![0; capacity * words].into();
        let mut arranged = Ring { columns, capacity: capacity as u16, head: 0, shape, ..Ring::default() };
        self.places(0, usize::from(self.closed)).enumerate().for_each(|(place, bin)| arranged.write(place, bin));
        (self.columns, self.capacity, self.head) = (arranged.columns, arranged.capacity, 0);
        self.shape = shape;
    }

    fn write(&mut self, place: usize, bin: Bin) {
        let (at, dens) = (self.at_place(place), self.dens());
        self.shape.nums.write(&mut self.columns, at, bin.num);
        if let Some(width) = self.shape.dens {
            width.write(&mut self.columns[dens..], at, bin.den);
        }
        if self.shape.has_minutes {
            let minutes = self.minutes();
            set_double(&mut self.columns[minutes..], at, bin.minute.cast_unsigned());
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
        let Some(open) = ring.open.filter(|_| ring.shape.dens.is_none() && !ring.shape.has_minutes) else {
            return (start..end).filter_map(|place| ring.get(place)).fold(init, each);
        };
        let (mut folded, mut place, closed) = (init, start, usize::from(ring.closed));
        while place < end.min(closed) {
            // As far as the column goes before it begins again.
            let at = ring.at_place(place);
            let many = (ring.capacity() - at).min(end.min(closed) - place);
            let first = open.minute - (closed - place) as Minute;
            let bin = |minute, num| Bin { minute, num, den: ring.den };
            folded = match ring.shape.nums {
                Width::Narrow => {
                    let nums = (first..).zip(&ring.columns[at..at + many]);
                    nums.fold(folded, |folded, (minute, &num)| each(folded, bin(minute, num.into())))
                }
                Width::Wide => {
                    let nums = (first..).zip(ring.columns[2 * at..2 * (at + many)].as_chunks::<2>().0);
                    nums.fold(folded, |folded, (minute, &num)| each(folded, bin(minute, f32::from_bits(joined(num)))))
                }
            };
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

/// The number in two words of a column.
fn double(column: &[u16], at: usize) -> u32 {
    joined([column[2 * at], column[2 * at + 1]])
}

fn joined([low, high]: [u16; 2]) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

fn set_double(column: &mut [u16], at: usize, number: u32) {
    column[2 * at..2 * at + 2].copy_from_slice(&[number as u16, (number >> 16) as u16]);
}

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
            let (missing, uneven, late, wide) = (1 + dice(8), 1 + dice(8), 1 + dice(8), 1 + dice(8));
            let mut minute = dice(100) as Minute;
            for _ in 0..100 {
                minute += if dice(missing) > 4 { dice(4) as Minute } else { 1 };
                let at = minute - if dice(late) > 4 { dice(12) as Minute } else { 0 };
                let large = |number: f32| if round % 3 == 0 { number } else { number * 13_111.0 };
                let (num, den) = (dice(5) as f32, if dice(uneven) > 4 { dice(3) as f32 } else { 1.0 });
                let (num, den) = if dice(wide) > 4 { (large(num), large(den)) } else { (num, den) };
                let num = if dice(wide) > 5 { num / 3.0 } else { num };
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
        assert_eq!(ring.columns.len(), 3 * 71, "a minute is missing");
        ring.set(Bin { minute: 401, num: 0.5, den: 3.0 }, 72);
        assert_eq!(ring.columns.len(), 4 * 71, "one has another denominator");
        ring.set(Bin { minute: 402, num: 0.5, den: 3.0 }, 72);
        assert_eq!(ring.columns.len(), 5 * 71, "one is no count");
        ring.set(Bin { minute: 403, num: -0.0, den: 1e9 }, 72);
        ring.set(Bin { minute: 404, num: 65_535.0, den: 65_536.0 }, 72);
        assert_eq!(ring.columns.len(), 6 * 71, "nor is a denominator a small one");
        (405..600).for_each(|minute| _ = ring.set(Bin { minute, num: 65_535.0, den: 3.0 }, 72));
        assert_eq!((ring.columns.len(), size_of::<Ring>()), (71, 48));
    }
}
