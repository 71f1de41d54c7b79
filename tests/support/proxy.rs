//! A TCP proxy between a program and its store: it delays what passes, or lets nothing pass while connections stay open.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::spawn;
use std::time::{Duration, Instant};

/// Ends with the test's process; its connections end with their ends.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: Arc<Weather>,
}

#[derive(Default)]
struct Weather {
    /// Each way, in milliseconds.
    delay_ms: AtomicU64,
    hole: AtomicBool,
    astray: AtomicBool,
    /// Where new connections go.
    to: AtomicU16,
}

impl Proxy {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            weather: Arc::default(),
        };
        proxy.moves_to(port);
        let weather = Arc::clone(&proxy.weather);
        spawn(move || {
            let mut lost = Vec::new();
            for client in listener.incoming().flatten() {
                if weather.astray.load(Ordering::Relaxed) {
                    lost.push(client);
                    continue;
                }
                let port = weather.to.load(Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue; // the store is down: the client sees a closed connection
                };
                pump(&client, &server, &weather);
                pump(&server, &client, &weather);
            }
        });
        proxy
    }

    /// New connections go to another server, as when an address moves: those that are open stay where they are.
    pub(crate) fn moves_to(&self, port: u16) {
        self.weather.to.store(port, Ordering::Relaxed);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Each way.
    pub(crate) fn delays(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap();
        self.weather.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Nothing passes; what was sent passes later.
    pub(crate) fn holds(&self, holds: bool) {
        self.weather.hole.store(holds, Ordering::Relaxed);
    }

    /// Connections that are made now lead nowhere, for ever: as those to a server that is no more.
    pub(crate) fn leads_astray(&self, astray: bool) {
        self.weather.astray.store(astray, Ordering::Relaxed);
    }
}

fn pump(from: &TcpStream, to: &TcpStream, weather: &Arc<Weather>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    let weather = (Arc::clone(weather), Arc::clone(weather));
    spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let delay = Duration::from_millis(weather.0.delay_ms.load(Ordering::Relaxed));
            if send
                .send((Instant::now() + delay, buffer[..count].to_vec()))
                .is_err()
            {
                break;
            }
        }
    });
    spawn(move || {
        for (at, bytes) in receive {
            while Instant::now() < at || weather.1.hole.load(Ordering::Relaxed) {
                let rest = at.saturating_duration_since(Instant::now());
                std::thread::park_timeout(rest.max(Duration::from_millis(1)));
            }
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
