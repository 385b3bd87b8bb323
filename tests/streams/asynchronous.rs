//! Streams over tokio's traits.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use manila::testing::open_every_way;
use manila::{AlgorithmSuite, Client, Error, ErrorKind, UnverifiedHeader};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{SIGNED, SUITES, UNSIGNED, any, client, none, parts, pattern};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Is pending before every few bytes, and is interrupted now and then.
struct Halting<T> {
    inner: T,
    turn: usize,
    most: usize,
    shut_down: bool,
}

impl<T> Halting<T> {
    fn new(inner: T, most: usize) -> Self {
        Self { inner, turn: 0, most, shut_down: false }
    }

    fn stumble(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.turn += 1;
        match self.turn % 4 {
            1 => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            3 => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<T: Read + Unpin> AsyncRead for Halting<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.stumble(context))?;
        let mut some = vec![0; buf.remaining().min(self.most)];
        let count = self.inner.read(&mut some)?;
        buf.put_slice(&some[..count]);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> AsyncWrite for Halting<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.stumble(context))?;
        let most = buf.len().min(self.most);
        Poll::Ready(self.inner.write(&buf[..most]))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.stumble(context))?;
        Poll::Ready(self.inner.flush())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn.is_multiple_of(2) {
            self.turn += 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

async fn write_halting(client: &Client, plaintext: &[u8], piece: usize, most: usize) -> Vec<u8> {
    let sink = Halting::new(Vec::new(), most);
    let mut writer = client.encryptor_async(&none()).await.unwrap().writer(sink);
    for piece in plaintext.chunks(piece) {
        AsyncWriteExt::write_all(&mut writer, piece).await.unwrap();
    }
    AsyncWriteExt::flush(&mut writer).await.unwrap();
    let sink = writer.finish_async().await.unwrap();
    assert!(!sink.shut_down, "the sink is given back to be written to");
    sink.inner
}

async fn read_halting(client: &Client, message: &[u8], most: usize) -> Result<Vec<u8>, Error> {
    let mut source = Halting::new(message, most);
    let header = client.read_header_async(&mut source).await?;
    let mut reader = client.decryptor_async(header, any()).await?.reader(source);
    let mut plaintext = Vec::new();
    AsyncReadExt::read_to_end(&mut reader, &mut plaintext).await?;
    Ok(plaintext)
}

async fn open_halting(client: &Client, message: &[u8], most: usize) -> Result<Vec<u8>, Error> {
    let mut reader = client.open_async(Halting::new(message, most), any()).await?;
    let mut plaintext = Vec::new();
    AsyncReadExt::read_to_end(&mut reader, &mut plaintext).await?;
    Ok(plaintext)
}

#[test]
fn asynchronous_messages_are_those_of_all_other_ways() {
    run(async {
        for suite in SUITES {
            for (frame_length, len) in
                [(1, 30), (16, 0), (16, 1), (16, 64), (16, 1000), (4096, 70_000), (70_000, 150_000)]
            {
                let client = client(suite, frame_length);
                let plaintext = pattern(len);
                let pieces =
                    if len > 5000 { &[(1000, 999), (100_000, 7777)][..] } else { &[(1, 1), (17, 3), (1000, 1)] };
                for (piece, most) in pieces {
                    let message = write_halting(&client, &plaintext, *piece, *most).await;
                    let exact = client.encryptor(&none()).unwrap().ciphertext_len(len as u64).unwrap();
                    assert_eq!(message.len() as u64, exact);
                    assert_eq!(open_every_way(&client, &message, &any()).unwrap().plaintext, plaintext);
                    assert_eq!(read_halting(&client, &message, *most).await.unwrap(), plaintext);
                    assert_eq!(open_halting(&client, &message, *most).await.unwrap(), plaintext);
                }
            }
        }
    });
}

#[test]
fn a_stream_cut_at_any_byte_has_no_clean_end() {
    run(async {
        for (suite, frame_length, len) in
            [(UNSIGNED, 16, 50), (SIGNED, 64, 64), (AlgorithmSuite::Aes128GcmNoKdf, 4096, 0)]
        {
            let client = client(suite, frame_length);
            let message = client.encrypt(&pattern(len), &none()).unwrap();
            for end in 0..message.len() {
                let error = read_halting(&client, &message[..end], 5).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{suite} cut at {end}");
                let error = open_halting(&client, &message[..end], 5).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{suite} cut at {end}");
            }
            let longer = [&message[..], b"!"].concat();
            assert_eq!(read_halting(&client, &longer, 5).await.unwrap_err().kind(), ErrorKind::TrailingBytes);
        }
    });
}

#[test]
fn a_header_is_taken_and_not_a_byte_more() {
    run(async {
        for suite in SUITES {
            let client = client(suite, 16);
            let message = client.encrypt(&pattern(50), &none()).unwrap();
            for most in [1, 1000] {
                let mut source = Halting::new(message.as_slice(), most);
                let header = UnverifiedHeader::read_async(&mut source).await.unwrap();
                assert_eq!(header, parts(&message).0);
                assert_eq!(source.inner, parts(&message).1);
            }
        }
        let error = UnverifiedHeader::read_async(&b"hello"[..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    });
}

#[test]
fn shutting_down_completes_the_message_and_the_sink() {
    run(async {
        for suite in SUITES {
            let client = client(suite, 16);
            let mut sink = Halting::new(Vec::new(), 7);
            let mut writer = client.encryptor_async(&none()).await.unwrap().writer(&mut sink);
            AsyncWriteExt::write_all(&mut writer, &pattern(100)).await.unwrap();
            writer.shutdown().await.unwrap();
            writer.shutdown().await.unwrap();
            drop(writer);
            assert!(sink.shut_down);
            assert_eq!(client.decrypt(&sink.inner, any()).unwrap().plaintext, pattern(100));
        }
    });
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing_that_opens() {
    run(async {
        for suite in SUITES {
            let client = client(suite, 16);
            for len in [0, 16, 100] {
                let mut sink = Vec::new();
                let mut writer = client.encryptor_async(&none()).await.unwrap().writer(&mut sink);
                AsyncWriteExt::write_all(&mut writer, &pattern(len)).await.unwrap();
                AsyncWriteExt::flush(&mut writer).await.unwrap();
                drop(writer);
                assert_eq!(client.decrypt(&sink, any()).unwrap_err().kind(), ErrorKind::Truncated);
            }
        }
    });
}

/// A sink that fails once and then works.
#[derive(Debug, Default)]
struct FailsOnce {
    calls: usize,
}

impl AsyncWrite for FailsOnce {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.calls += 1;
        match self.calls {
            2 => Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "once"))),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn the_first_error_of_a_sink_is_the_last_word() {
    run(async {
        let mut sink = FailsOnce::default();
        let mut writer = client(UNSIGNED, 1000).encryptor_async(&none()).await.unwrap().writer(&mut sink);
        let first = loop {
            if let Err(error) = AsyncWriteExt::write_all(&mut writer, &[0; 5000]).await {
                break error;
            }
        };
        assert_eq!(first.kind(), io::ErrorKind::ConnectionReset);
        for again in [
            AsyncWriteExt::write_all(&mut writer, &[0; 5000]).await.unwrap_err(),
            AsyncWriteExt::flush(&mut writer).await.unwrap_err(),
            writer.shutdown().await.unwrap_err(),
        ] {
            assert_eq!((again.kind(), again.to_string()), (first.kind(), first.to_string()));
        }
        let last = writer.finish_async().await.unwrap_err();
        assert_eq!((last.kind(), last.to_string()), (ErrorKind::Io, first.to_string()));
        assert_eq!(sink.calls, 2, "nothing was written after the error");
    });
}

/// Returns `WouldBlock` without waking anyone, which an asynchronous stream must not do.
struct Misbehaved;

impl AsyncRead for Misbehaved {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::WouldBlock.into()))
    }
}

/// A sink of which one call returns `WouldBlock`.
struct Stalls(&'static str);

impl Stalls {
    fn answer<T>(&self, call: &str, done: T) -> Poll<io::Result<T>> {
        Poll::Ready(if self.0 == call { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(done) })
    }
}

impl AsyncWrite for Stalls {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.answer("write", buf.len())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer("flush", ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer("shutdown", ())
    }
}

#[test]
fn a_stream_that_breaks_its_contract_fails_rather_than_hang() {
    run(async {
        let client = client(UNSIGNED, 16);
        let message = client.encrypt(&pattern(50), &none()).unwrap();
        let mut reader = client.decryptor(parts(&message).0, any()).unwrap().reader(Misbehaved);
        let error = AsyncReadExt::read(&mut reader, &mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
        // Whichever call does so: a future that returned `Pending` is not polled again, as nobody is woken.
        for breaks in ["write", "flush", "shutdown"] {
            let mut writer = client.encryptor_async(&none()).await.unwrap().writer(Stalls(breaks));
            let context = &mut Context::from_waker(std::task::Waker::noop());
            let Poll::Ready(Err(error)) = Pin::new(&mut writer).poll_shutdown(context) else {
                panic!("{breaks}: it waits for a waker that nobody has")
            };
            assert_eq!(error.kind(), io::ErrorKind::Other, "{breaks}");
            let Poll::Ready(Err(again)) = Pin::new(&mut writer).poll_write(context, b"x") else { panic!("{breaks}") };
            assert_eq!(again.to_string(), error.to_string());
        }
    });
}

#[test]
fn a_cut_message_is_not_whole_to_whoever_reads_records() {
    run(async {
        let client = client(UNSIGNED, 64);
        let message = client.encrypt(&pattern(20 * 16), &none()).unwrap();
        let (header, body) = parts(&message);
        let mut reader = client.decryptor(header, any()).unwrap().reader(Halting::new(&body[..2 * 96], 50));
        let mut record = [0; 16];
        for _ in 0..8 {
            AsyncReadExt::read_exact(&mut reader, &mut record).await.unwrap();
        }
        let error = AsyncReadExt::read_exact(&mut reader, &mut record).await.unwrap_err();
        assert_eq!((error.kind(), Error::from(error).kind()), (io::ErrorKind::InvalidData, ErrorKind::Truncated));
    });
}

#[test]
fn a_reader_dropped_half_way_harms_nobody() {
    run(async {
        let client = client(UNSIGNED, 16);
        let message = client.encrypt(&pattern(500), &none()).unwrap();
        let (header, body) = parts(&message);
        let mut source = Halting::new(body, 10);
        let mut reader = client.decryptor(header.clone(), any()).unwrap().reader(&mut source);
        let mut some = [0; 40];
        AsyncReadExt::read_exact(&mut reader, &mut some).await.unwrap();
        assert_eq!(some[..], pattern(500)[..40]);
        drop(reader);
        assert!(source.inner.len() < body.len(), "it was read from");
        let mut reader = client.decryptor(header, any()).unwrap().reader(body);
        let mut plaintext = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut plaintext).await.unwrap();
        assert_eq!(plaintext, pattern(500));
    });
}

#[test]
fn plaintext_is_shown_where_it_was_opened() {
    run(async {
        let client = client(UNSIGNED, 100);
        let message = client.encrypt(&pattern(250), &none()).unwrap();
        let (header, body) = parts(&message);
        let mut reader = client.decryptor(header, any()).unwrap().reader(Halting::new(body, 1000));
        assert_eq!(AsyncBufReadExt::fill_buf(&mut reader).await.unwrap(), &pattern(250)[..200]);
        AsyncBufReadExt::consume(&mut reader, 150);
        let mut rest = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut rest).await.unwrap();
        assert_eq!(rest, pattern(250)[150..]);
    });
}

#[test]
fn several_threads_work_behind_an_asynchronous_stream() {
    run(async {
        for suite in [UNSIGNED, SIGNED] {
            let client = crate::builder(suite, 65_536).threads(2).build().unwrap();
            let plaintext = pattern(5 << 20);
            let message = write_halting(&client, &plaintext, 300_000, 1 << 20).await;
            assert!(read_halting(&client, &message, 1 << 20).await.unwrap() == plaintext);
        }
    });
}

/// A sink whose first shutdown fails.
#[derive(Default)]
struct Stuck {
    tried: bool,
}

impl AsyncWrite for Stuck {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = std::mem::replace(&mut self.tried, true);
        Poll::Ready(if tried { Ok(()) } else { Err(io::ErrorKind::ConnectionReset.into()) })
    }
}

#[test]
fn a_shutdown_that_failed_is_not_made_good_by_the_next() {
    run(async {
        let mut writer = client(UNSIGNED, 16).encryptor_async(&none()).await.unwrap().writer(Stuck::default());
        assert_eq!(writer.shutdown().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(writer.shutdown().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(writer.finish_async().await.map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
    });
}

#[test]
fn what_is_held_back_cannot_be_consumed() {
    run(async {
        let client = client(UNSIGNED, 16);
        let message = client.encrypt(&pattern(10), &none()).unwrap();
        let (header, body) = parts(&message);
        let mut reader = client.decryptor(header, any()).unwrap().reader(Halting::new(body, body.len().div_ceil(2)));
        let opened = std::future::poll_fn(|context| {
            // Called wherever the reader is pending, including once everything but the end has arrived.
            AsyncBufReadExt::consume(&mut reader, 5);
            match Pin::new(&mut reader).poll_fill_buf(context) {
                Poll::Ready(shown) => Poll::Ready(shown.map(<[u8]>::to_vec)),
                Poll::Pending => Poll::Pending,
            }
        });
        assert_eq!(opened.await.unwrap(), pattern(10));
    });
}
