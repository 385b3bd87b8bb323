//! [`Window`]: a buffer between two streams.

/// A buffer to which bytes are appended at the end and from which they are consumed at the start. It grows only when it
/// is full of bytes that have not been consumed, so its size follows the bytes that have arrived.
pub(super) struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    /// Creates an empty window with space for `len` bytes.
    pub(super) fn new(len: usize) -> Self {
        Self { buffer: vec![0; len], start: 0, end: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Consumes the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Records that `count` bytes were written to the space at the end.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buffer.len());
    }

    /// Returns the length of the free space at the end.
    pub(super) fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.end)
    }

    /// Returns free space of at least one byte. A full window grows: to `limit` bytes if it is shorter, and otherwise
    /// to twice its length.
    pub(super) fn space(&mut self, limit: usize) -> &mut [u8] {
        if self.room() == 0 {
            self.move_to_front();
        }
        if self.room() == 0 {
            let len = self.buffer.len();
            self.grow(if limit > len { limit } else { len.saturating_mul(2) });
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Doubles the length of the window, up to `limit` bytes.
    pub(super) fn grow(&mut self, limit: usize) {
        let len = self.buffer.len().saturating_mul(2).clamp(1, limit.max(1));
        if len > self.buffer.len() {
            self.buffer.resize(len, 0);
        }
    }

    /// Returns free space of exactly `len` bytes.
    pub(super) fn space_for(&mut self, len: usize) -> &mut [u8] {
        if self.room() < len {
            self.move_to_front();
        }
        if self.room() < len {
            self.buffer.resize(self.end.saturating_add(len), 0);
        }
        self.buffer.get_mut(self.end..).and_then(|free| free.get_mut(..len)).unwrap_or_default()
    }

    /// Appends bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.space_for(bytes.len()).copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    fn move_to_front(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_only_when_full() {
        let mut window = Window::new(4);
        window.put(b"abcd");
        window.consume(3);
        let room = window.space(100);
        assert_eq!(room.len(), 3);
        room.copy_from_slice(b"efg");
        window.filled(3);
        assert_eq!(window.bytes(), b"defg");
        assert_eq!(window.space(100).len(), 4);
        assert_eq!(window.bytes(), b"defg");
        assert_eq!(window.space_for(100).len(), 100);
        assert_eq!(window.bytes(), b"defg");
    }

    #[test]
    fn a_window_stops_at_its_limit_unless_it_must_grow() {
        let mut window = Window::new(4);
        window.put(b"abcd");
        assert_eq!(window.space(6).len(), 2);
        window.filled(2);
        assert_eq!(window.space(6).len(), 6);
        assert_eq!(Window::new(0).space(0).len(), 1);
    }
}
