//! Bytes on their way through.

/// Bytes that are put in at the end and taken from the start. It grows only when it is full of bytes that are
/// still to be taken, so its size follows what arrived.
pub(super) struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    /// An empty window of `len` bytes.
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

    /// Takes note that the first `count` bytes were taken.
    pub(super) fn taken(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes note that `count` bytes were put into the space behind the end.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buffer.len());
    }

    /// Length of the free space behind the end, as it is.
    pub(super) fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.end)
    }

    /// Some free space, at least one byte. A full window doubles, up to `limit` bytes if it is shorter.
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

    /// Doubles the window, up to `limit` bytes.
    pub(super) fn grow(&mut self, limit: usize) {
        let len = self.buffer.len().saturating_mul(2).clamp(1, limit.max(1));
        if len > self.buffer.len() {
            self.buffer.resize(len, 0);
        }
    }

    /// Free space of exactly `len` bytes.
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
        window.taken(3);
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
