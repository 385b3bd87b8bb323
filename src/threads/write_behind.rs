//! [`write_behind`]: a sink whose bytes are written by another thread, while the caller's goes on.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use manila_core::{Error, ErrorKind, Result};

/// Length in bytes of the longest piece that is handed over at a time.
const PIECE: usize = 1 << 20;

/// The number of pieces that wait to be written, at most.
const WAITING: usize = 2;

/// Calls `work` with a sink that hands everything to a thread, which writes it to `sink`. Returns the result of `work`,
/// and the sink when all has been written. An error of the sink takes precedence.
///
/// If the system refuses a thread, everything is written on the caller's.
pub(crate) fn write_behind<W: Write + Send, T>(
    mut sink: W,
    work: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<(T, W)> {
    let (pieces, to_write) = sync_channel(WAITING);
    let (written, spare) = sync_channel(WAITING);
    let mut work = Some(work);
    let done = thread::scope(|scope| {
        let sink = &mut sink;
        let write_all = move || write_pieces(sink, &to_write, &written);
        let writer = thread::Builder::new().name("manila".to_owned()).spawn_scoped(scope, write_all).ok()?;
        let result = work.take().map(|work| work(&mut Behind { pieces, spare }));
        // The sender is gone, so the thread ends once it has written everything.
        match writer.join() {
            Ok(Ok(())) => result,
            Ok(Err(error)) => Some(Err(error.into())),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    });
    let done = match (done, work) {
        (Some(done), _) => done,
        (None, Some(work)) => work(&mut sink),
        (None, None) => Err(Error::new(ErrorKind::Internal, "nothing was done: this is a bug in manila")),
    };
    Ok((done?, sink))
}

fn write_pieces(sink: &mut impl Write, pieces: &Receiver<Vec<u8>>, written: &SyncSender<Vec<u8>>) -> io::Result<()> {
    for piece in pieces {
        sink.write_all(&piece)?;
        // If the caller has enough of them, it is dropped.
        let _ = written.try_send(piece);
    }
    sink.flush()
}

/// The caller's end. Nothing waits when it is flushed: the sink is flushed at the end.
struct Behind {
    pieces: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..PIECE).unwrap_or(bytes);
        let mut piece = self.spare.try_recv().unwrap_or_default();
        piece.clear();
        piece.extend_from_slice(bytes);
        // It fails if the thread has ended with an error, which is the one that is told.
        self.pieces.send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink with room for so many bytes.
    struct Room(Vec<u8>, usize);

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > self.1 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn bytes() -> Vec<u8> {
        (0..10 * PIECE + 5).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[test]
    fn everything_is_written_in_order() {
        let bytes = bytes();
        let (count, sink) = write_behind(Room(Vec::new(), usize::MAX), |sink| {
            let parts = [&bytes[..1], &bytes[1..3 * PIECE], &bytes[3 * PIECE..]];
            parts.iter().try_for_each(|part| sink.write_all(part))?;
            sink.flush()?;
            Ok(bytes.len())
        })
        .unwrap();
        assert_eq!(count, bytes.len());
        assert!(sink.0 == bytes);
    }

    #[test]
    fn the_error_of_the_sink_is_told_and_that_of_the_work_otherwise() {
        let kind = |error: Error| io::Error::from(error).kind();
        for room in [0, PIECE, 9 * PIECE] {
            let error = write_behind(Room(Vec::new(), room), |sink| Ok(sink.write_all(&bytes())?)).err().unwrap();
            assert_eq!(kind(error), io::ErrorKind::StorageFull);
        }
        let failing = |_: &mut dyn Write| Err::<(), _>(Error::new(ErrorKind::Truncated, "too short"));
        let error = write_behind(Room(Vec::new(), 0), failing).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Truncated);
    }
}
