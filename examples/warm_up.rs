//! Warms up while a process starts: for functions that start cold and sign their messages.
//!
//! ```text
//! warmed up in ...
//! once more in ...
//! a signed message of 1 KiB in ...
//! ```

use std::time::Instant;

use manila::keyring::RawAesKeyring;
use manila::{Client, EncryptionContext, Result};

fn main() -> Result<()> {
    // On a thread, while this one does what comes before the first message: configuration, connections, keys.
    let warm_up = std::thread::spawn(|| {
        let start = Instant::now();
        manila::warm_up();
        start.elapsed()
    });
    let client = Client::new(RawAesKeyring::new("example", "key-1", &[7; 32])?);
    let context = EncryptionContext::new([("tenant", "acme")])?;

    // Only to show the time: a message that is signed earlier waits for what is left.
    println!("warmed up in {:?}", warm_up.join().expect("it does not panic"));
    let start = Instant::now();
    manila::warm_up();
    println!("once more in {:?}", start.elapsed());

    // By default messages are signed.
    let start = Instant::now();
    let message = client.encrypt(&[0; 1024], &context)?;
    println!("a signed message of 1 KiB in {:?}", start.elapsed());
    assert!(client.decrypt(&message, &context).is_ok());
    Ok(())
}
