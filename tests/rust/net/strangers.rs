//! Everybody who must not come in, and what each side is told about it.

use super::log::Log;
use super::*;
use plait::coordinator;
use plait::net::identity::Identity;
use plait::net::join::{Key, Pin};
use plait::net::link::LossReason;
use plait::net::tls::{client_config, client_config_as, server_config};
use plait_core::limits;
use plait_core::protocol::frame;
use plait_core::protocol::hello::{CoordinatorHello, PROTOCOL, PeerHello, PeerRole};
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Sends bytes and waits until the port closes the connection.
async fn shout(port: &Port, bytes: &[u8]) {
    let mut socket = TcpStream::connect(port.address).await.unwrap();
    // It may be closed before all of it is out.
    drop(socket.write_all(bytes).await);
    hung_up(&mut socket).await;
}

async fn hung_up(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut answer = Vec::new();
    drop(soon(stream.read_to_end(&mut answer)).await);
}

/// Through TLS, the coordinator's hello read.
async fn greeted(port: &Port, line: &JoinLine) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(port.address).await.unwrap();
    let name = "plait".try_into().unwrap();
    let mut stream = soon(TlsConnector::from(client_config(line)).connect(name, socket)).await.unwrap();
    let mut header = [0; frame::HEADER_BYTES];
    soon(stream.read_exact(&mut header)).await.unwrap();
    let mut hello = vec![0; frame::hello_length(header).unwrap()];
    soon(stream.read_exact(&mut hello)).await.unwrap();
    let hello: CoordinatorHello = frame::read_hello(&hello).unwrap();
    assert_eq!((hello.epoch, hello.newest), (Epoch(7), PROTOCOL));
    stream
}

/// Through TLS, then these bytes in place of a hello.
async fn shout_inside(port: &Port, role: Role, bytes: &[u8]) {
    let mut stream = greeted(port, &port.line(role)).await;
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    hung_up(&mut stream).await;
}

#[test]
fn a_coordinator_that_can_let_nobody_in_any_more_ends() {
    let bind = "127.0.0.1:0".into();
    let listen = coordinator::Listen { bind, advertise: None, home: fresh_home() };
    let shutdown = CancellationToken::new();
    let (ready, lines) = std::sync::mpsc::channel();
    let serving = std::thread::spawn(move || {
        let log = tracing_subscriber::fmt().with_writer(|| -> std::io::Stderr { panic!("it cannot be logged") });
        tracing::subscriber::with_default(log.with_max_level(tracing::Level::WARN).finish(), || {
            coordinator::serve(&listen, |join| ready.send(join).unwrap(), &shutdown)
        })
    });
    let line: JoinLine = lines.recv().unwrap().client.parse().unwrap();
    let mut stranger = std::net::TcpStream::connect(line.addresses[0].to_string()).unwrap();
    std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ended = serving.join().unwrap();
    assert!(matches!(ended, Err(coordinator::ServeError::Deaf)), "{ended:?}");
}

#[tokio::test]
async fn a_web_browser_is_sent_away() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    shout(&port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    log.says("does not speak TLS").await;
    port.expect_well().await;
}

#[tokio::test]
async fn noise_is_sent_away_and_logged_once_a_second() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    let started = std::time::Instant::now();
    for n in 0..50_u8 {
        shout(&port, &[n.wrapping_mul(77); 300]).await;
    }
    log.says("refused").await;
    let most = 1 + started.elapsed().as_secs() as usize;
    assert!(log.lines().len() <= most, "{:?}", log.lines());
    port.expect_well().await;
}

#[tokio::test]
async fn silence_is_sent_away_after_its_time() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    let started = std::time::Instant::now();
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    let mut greeted = greeted(&port, &port.line(Role::Worker)).await;
    hung_up(&mut silent).await;
    hung_up(&mut greeted).await;
    assert!(started.elapsed() >= limits::HANDSHAKE_TIMEOUT - Duration::from_millis(100));
    log.says("in time").await;
    port.expect_well().await;
}

#[tokio::test]
async fn two_hundred_silent_sockets_disturb_nobody() {
    let mut port = Port::open().await;
    let (near, mut far) = port.worker().await;
    let mut silent = Vec::new();
    for n in 0..200 {
        silent.push(TcpStream::connect(port.address).await.unwrap());
        near.sender.send(FromWorker::Taken(n)).unwrap();
        assert_eq!(next(&mut far.receiver).await, Ok(FromWorker::Taken(n)));
    }
    port.expect_well().await;
    // The oldest have been put out to make room: closed long before their time.
    hung_up(&mut silent[0]).await;
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let port = Port::open().await;
    let target = port.address.to_string();
    let openssl = move |version: &str| {
        let arguments = ["s_client", "-connect", &target, version, "-alpn", "plait"];
        let run = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
        run.map(|output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    // The listener runs on this thread, so openssl must not.
    let (twelve, thirteen) =
        soon(tokio::task::spawn_blocking(move || (openssl("-tls1_2"), openssl("-tls1_3")))).await.unwrap();
    let (Ok(twelve), Ok(thirteen)) = (twelve, thirteen) else { return };
    assert!(twelve.contains("Cipher is (NONE)"), "not even a cipher is agreed on: {twelve}");
    for answer in [twelve, thirteen] {
        assert!(answer.contains("alert") && answer.contains("no peer certificate available"), "{answer}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_as_such() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    for role in [Role::Worker, Role::Client] {
        let line = JoinLine { key: Key([1; 16]), ..port.line(role) };
        let refused = match role {
            Role::Worker => soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err(),
            Role::Client => soon(dial_client(&line, "me", PYTHON, 1, None, &None)).await.unwrap_err(),
        };
        assert!(matches!(refused, DialError::WrongKey { .. }), "{refused:?}");
        assert!(refused.fatal() && refused.to_string().contains("wrong key for this cluster"), "{refused}");
    }
    // A key of one role says nothing in the other.
    let line = JoinLine { key: port.line(Role::Client).key, ..port.line(Role::Worker) };
    assert!(matches!(soon(dial_worker(&line, offer(), &|_| None, &None)).await, Err(DialError::WrongKey { .. })));
    log.says("its key is not of this cluster").await;
    port.expect_well().await;
}

#[tokio::test]
async fn the_line_of_another_cluster_is_told_as_such() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    let other = Port::open().await;
    let line = JoinLine { addresses: vec![at(port.address)], ..other.line(Role::Worker) };
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    let DialError::WrongPin { expected, got, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((*expected, *got), (other.keyring.pin(), port.keyring.pin()));
    let text = refused.to_string();
    assert!(text.contains(&expected.to_string()) && text.contains(&got.to_string()) && refused.fatal(), "{text}");
    log.says("looks for another coordinator").await;
    port.expect_well().await;
}

#[tokio::test]
async fn a_line_for_another_role_is_refused_before_anything_is_sent() {
    let nowhere = vec!["nowhere.invalid:1".parse().unwrap()];
    let line = |role| JoinLine { role, pin: Pin([0; 16]), key: Key([0; 16]), addresses: nowhere.clone() };
    let refused = soon(dial_worker(&line(Role::Client), offer(), &|_| None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::WrongRole { found: Role::Client, needed: Role::Worker }));
    assert!(refused.fatal() && refused.to_string().contains("plait1w-"), "{refused}");
    let refused = soon(dial_client(&line(Role::Worker), "me", PYTHON, 1, None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::WrongRole { found: Role::Worker, needed: Role::Client }));
}

fn hello(protocol: u16, role: PeerRole) -> Vec<u8> {
    frame::write_hello(&PeerHello { protocol, version: "9.9".into(), role }).unwrap()
}

#[tokio::test]
async fn a_role_that_the_key_does_not_allow_is_refused() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    shout_inside(&port, Role::Client, &hello(PROTOCOL, PeerRole::Worker(offer()))).await;
    log.says("it says that it is a worker, with the key of a client").await;
    port.expect_well().await;
}

#[tokio::test]
async fn hellos_that_are_none_are_refused() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    shout_inside(&port, Role::Worker, b"GET / HTTP/1.1\r\n\r\n").await;
    log.says("sent no hello").await;
    let mut oversized = hello(PROTOCOL, PeerRole::Worker(offer()));
    oversized[4..8].copy_from_slice(&(limits::HELLO_BYTES as u32 + 1).to_le_bytes());
    shout_inside(&port, Role::Worker, &oversized).await;
    let good = hello(PROTOCOL, PeerRole::Worker(offer()));
    let mut cut = good.clone();
    cut.truncate(good.len() - 3);
    cut[4] -= 3;
    shout_inside(&port, Role::Worker, &cut).await;
    port.expect_well().await;
}

#[tokio::test]
async fn a_peer_of_another_version_is_named_in_the_log() {
    let (log, _guard) = Log::capture();
    let mut port = Port::open().await;
    // Whatever that version has changed behind its number.
    let newer = frame::write_hello(&(PROTOCOL + 1, "9.9", 200_u8, "something new")).unwrap();
    shout_inside(&port, Role::Worker, &newer).await;
    log.says(&format!("it speaks protocol {} (plait 9.9)", PROTOCOL + 1)).await;
    port.expect_well().await;
}

/// A coordinator with this hello, for one connection; also what it hears then.
async fn coordinator(keyring: &Keyring, hello: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let tls = TlsAcceptor::from(server_config(keyring));
    let served = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let Ok(mut stream) = tls.accept(stream).await else { return Vec::new() };
        stream.write_all(&hello).await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = Vec::new();
        drop(stream.read_to_end(&mut heard).await);
        heard
    });
    (address, served)
}

#[tokio::test]
async fn a_coordinator_of_another_version_is_told_with_both_versions_and_the_fix() {
    let keyring = Keyring::open(&fresh_home()).unwrap();
    let newer = CoordinatorHello { oldest: PROTOCOL + 1, newest: PROTOCOL + 2, epoch: Epoch(1), version: "9.9".into() };
    let (address, served) = coordinator(&keyring, frame::write_hello(&newer).unwrap()).await;
    let line = keyring.join_line(Role::Worker, vec![at(address)]);
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    let DialError::Version { theirs, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*theirs, (PROTOCOL + 1, PROTOCOL + 2));
    let text = refused.to_string();
    for part in ["9.9", env!("CARGO_PKG_VERSION"), "Install the same plait"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(refused.fatal());
    let heard = soon(served).await.unwrap();
    let answer: PeerHello = frame::read_hello(&heard[frame::HEADER_BYTES..]).unwrap();
    assert_eq!(answer.protocol, PROTOCOL, "it answers, so that the other side's log can name it");
}

#[tokio::test]
async fn what_is_no_coordinator_is_told_as_such() {
    let keyring = Keyring::open(&fresh_home()).unwrap();
    // A web server.
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = keyring.join_line(Role::Worker, vec![at(web.local_addr().unwrap())]);
    let served = tokio::spawn(async move {
        let (mut stream, _) = web.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        hung_up(&mut stream).await;
    });
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::NotPlait { .. }), "{refused:?}");
    soon(served).await.unwrap();
    // The right key, and then no hello.
    let (address, _) = coordinator(&keyring, b"220 ready for mail\r\n".to_vec()).await;
    let line = keyring.join_line(Role::Worker, vec![at(address)]);
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::NotPlait { .. }), "{refused:?}");
    // Nobody, and somebody who says nothing.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let line = keyring.join_line(Role::Worker, vec![at(nobody)]);
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::Unreachable { .. }) && !refused.fatal(), "{refused:?}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = keyring.join_line(Role::Worker, vec![at(silent.local_addr().unwrap())]);
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::Timeout { .. }) && !refused.fatal(), "{refused:?}");
}

#[tokio::test]
async fn a_man_in_the_middle_is_noticed_before_the_peer_signs_anything() {
    let port = Port::open().await;
    let (own, impostor) = (Keyring::open(&fresh_home()).unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = impostor.local_addr().unwrap();
    let tls = TlsAcceptor::from(server_config(&own));
    let caught = tokio::spawn(async move {
        let (stream, _) = impostor.accept().await.unwrap();
        tls.accept(stream).await.map(|_| ())
    });
    let line = JoinLine { addresses: vec![at(address)], ..port.line(Role::Worker) };
    let refused = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap_err();
    assert!(matches!(refused, DialError::WrongPin { got, .. } if got == own.pin()), "{refused:?}");
    let seen = soon(caught).await.unwrap().unwrap_err();
    assert!(seen.to_string().contains("CertificateUnknown"), "an alert, and no key of the peer's: {seen}");
}

#[tokio::test]
async fn a_recorded_connection_cannot_be_played_again() {
    let mut port = Port::open().await;
    // A proxy that passes everything on and keeps what the peer said.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = JoinLine { addresses: vec![at(proxy.local_addr().unwrap())], ..port.line(Role::Worker) };
    let target = port.address;
    let recorded = tokio::spawn(async move {
        let (peer, _) = proxy.accept().await.unwrap();
        let server = TcpStream::connect(target).await.unwrap();
        let (mut peer, mut server) = (Recorder { inner: peer, seen: Vec::new() }, server);
        drop(copy_bidirectional(&mut peer, &mut server).await);
        peer.seen
    });
    let near = soon(dial_worker(&line, offer(), &|_| None, &None)).await.unwrap();
    assert!(matches!(port.next().await, Arrival::Worker { .. }), "a proxy that only passes on is no obstacle");
    near.sender.send(FromWorker::Goodbye).unwrap();
    near.sender.finish();
    soon(near.sender.flushed()).await;
    drop(near);
    let recorded = soon(recorded).await.unwrap();
    assert!(recorded.len() > 300, "a whole handshake was seen");
    shout(&port, &recorded).await;
    port.expect_well().await;
    assert!(port.arrivals.try_recv().is_err(), "nobody else came in");
}

/// A socket that keeps what is read from it.
struct Recorder {
    inner: TcpStream,
    seen: Vec<u8>,
}

impl tokio::io::AsyncRead for Recorder {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = std::pin::Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.seen.extend_from_slice(&buffer.filled()[before..]);
        read
    }
}

impl tokio::io::AsyncWrite for Recorder {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn nothing_is_given_out_twice() {
    let port = Port::open().await;
    let server = server_config(&port.keyring);
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size, server.ticketer.enabled()), (0, 0, false));
    let client = client_config_as(&Identity::from_seed(&[1; 32]), port.keyring.pin());
    assert!(!client.enable_early_data && !client.enable_sni);
    let stream = greeted(&port, &port.line(Role::Worker)).await;
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(
        session.negotiated_cipher_suite().map(|suite| suite.suite()),
        Some(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256)
    );
    assert_eq!(session.alpn_protocol(), Some(&b"plait"[..]));
}

#[tokio::test]
async fn an_oversized_frame_closes_its_own_connection_alone() {
    let mut port = Port::open().await;
    let (good, mut of_good) = port.worker().await;
    let mut bad = greeted(&port, &port.line(Role::Worker)).await;
    bad.write_all(&hello(PROTOCOL, PeerRole::Worker(offer()))).await.unwrap();
    let Arrival::Worker { link: mut of_bad, .. } = port.next().await else { panic!("not a worker") };
    let length = (limits::CONTROL_BYTES as u32 + 1).to_le_bytes();
    bad.write_all(&[&[1, 0, 0, 0][..], &length, &[0; 4]].concat()).await.unwrap();
    bad.flush().await.unwrap();
    let closed = next(&mut of_bad.receiver).await;
    assert!(matches!(closed, Err(Closed::Lost(LossReason::Protocol(_)))), "{closed:?}");
    hung_up(&mut bad).await;
    good.sender.send(FromWorker::Taken(1)).unwrap();
    assert_eq!(next(&mut of_good.receiver).await, Ok(FromWorker::Taken(1)));
}
