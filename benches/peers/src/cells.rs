//! The cells of the tables: what is encrypted and decrypted, and how.

/// The way in which plaintext is handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As a slice, and back as another.
    Whole,
    /// In pieces from memory, through a stream into nothing.
    Stream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Encrypt,
    Decrypt,
}

/// One cell for each peer of a table.
#[derive(Clone, Copy)]
pub struct Cell {
    pub frame_length: u32,
    pub shape: Shape,
    pub is_signed: bool,
    pub direction: Direction,
}

impl Cell {
    /// Its column in the table.
    pub fn column(&self) -> &'static str {
        match (self.is_signed, self.direction) {
            (false, Direction::Encrypt) => "encrypt",
            (false, Direction::Decrypt) => "decrypt",
            (true, Direction::Encrypt) => "encrypt, signed",
            (true, Direction::Decrypt) => "decrypt, signed",
        }
    }

    pub fn suite_id(&self) -> &'static str {
        if self.is_signed { "0578" } else { "0478" }
    }
}

/// The cells of one table.
#[derive(Clone, Copy)]
pub struct Group {
    pub name: &'static str,
    pub title: &'static str,
    len: usize,
    frame_length: u32,
    shape: Shape,
    pub rounds: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The default of the official SDKs.
const FRAME: u32 = 4 << 10;

impl Group {
    pub fn all() -> [Self; 5] {
        let group =
            |name, title, len, frame_length, shape, rounds| Self { name, title, len, frame_length, shape, rounds };
        [
            group("1KiB", "1 KiB", KIB, FRAME, Shape::Whole, 31),
            group("1MiB", "1 MiB, in frames of 4 KiB", MIB, FRAME, Shape::Whole, 21),
            group("stream-64KiB", "A stream of 64 MiB, in frames of 64 KiB", 64 * MIB, 64 << 10, Shape::Stream, 9),
            group("stream-1MiB", "A stream of 64 MiB, in frames of 1 MiB", 64 * MIB, 1 << 20, Shape::Stream, 9),
            group("stream-1GiB", "A stream of 1 GiB, in frames of 64 KiB", 1024 * MIB, 64 << 10, Shape::Stream, 3),
        ]
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|group| group.name == name)
    }

    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let Self { frame_length, shape, .. } = *self;
        let kinds = [false, true]
            .into_iter()
            .flat_map(|is_signed| [Direction::Encrypt, Direction::Decrypt].map(|direction| (is_signed, direction)));
        kinds.map(move |(is_signed, direction)| Cell { frame_length, shape, is_signed, direction })
    }

    /// The length of the plaintext in bytes.
    pub fn len(&self) -> usize {
        self.len
    }
}
