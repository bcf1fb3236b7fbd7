//! The three shells in one thread, and how they end. Executors are left to the tests with real processes.

use super::remote::Server;
use super::rig::*;
use plait::client::{self, Handle, Loss};
use plait::config::SpillDir;
use plait::coordinator::Listen;
use plait::embedded::{self, Embedded};
use plait::net::link::memory;
use plait::worker::Launch;
use plait_core::id::Epoch;
use plait_core::outcome::Outcome;
use plait_core::protocol::message::client::{FromClient, ToClient};
use plait_core::resource::Resources;
use std::net::TcpStream;
use std::path::PathBuf;

fn embed(listen: Option<Listen>) -> Embedded {
    let config = embedded::Config {
        capacity: Resources::cpus(0),
        listen,
        launch: Launch::python(PathBuf::from("/bin/false"), Vec::new(), &[]),
        name: "test".into(),
        python: PYTHON,
        spill_dir: SpillDir::Folder(std::env::temp_dir()),
    };
    embedded::start(config).expect("it starts")
}

fn end(mut embedded: Embedded) -> Handle {
    let handle = embedded.handle().clone();
    assert!(embedded.shutdown(PATIENCE));
    handle
}

#[test]
fn others_join_an_embedded_coordinator_through_its_port() {
    let home = std::env::temp_dir().join(format!("plait-embedded-{}", std::process::id()));
    let embedded = embed(Some(Listen { bind: "127.0.0.1:0".into(), advertise: None, home: home.clone() }));
    let lines = embedded.join_lines().expect("it listens").clone();
    drop(Server::hire(&lines.worker.parse().unwrap(), answer));
    let client = embedded.handle();
    define(client);
    let here = client.submit(task("here")).unwrap();
    let guest = client::connect(lines.client.parse().unwrap(), super::remote::config()).expect("it lets clients in");
    define(guest.handle());
    let there = guest.handle().submit(task("there")).unwrap();
    assert_eq!((value(client, here), value(guest.handle(), there)), ("here".into(), "there".into()));
    let address = lines.client.rsplit('@').next().unwrap().to_owned();
    end(embedded);
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    eventually(|| guest.handle().submit(task("x")).is_err());
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn the_end_of_the_thread_settles_everything() {
    let embedded = embed(None);
    define(embedded.handle());
    let pending = embedded.handle().submit(task("x")).unwrap();
    let handle = end(embedded);
    assert_eq!(take(&handle, pending).outcome, Ok(Outcome::Cancelled));
    let dropped = embed(None);
    let handle = dropped.handle().clone();
    drop(dropped);
    assert!(handle.wait_idle(PATIENCE));
    eventually(|| handle.submit(task("x")).is_err());
}

#[test]
fn a_port_that_is_taken_is_an_error_with_its_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let home = std::env::temp_dir().join(format!("plait-embedded-taken-{}", std::process::id()));
    let config = embedded::Config {
        capacity: Resources::cpus(0),
        listen: Some(Listen { bind: bind.clone(), advertise: None, home: home.clone() }),
        launch: Launch::python(PathBuf::from("/bin/false"), Vec::new(), &[]),
        name: "test".into(),
        python: PYTHON,
        spill_dir: SpillDir::Folder(std::env::temp_dir()),
    };
    let error = embedded::start(config).expect_err("somebody listens there");
    drop(std::fs::remove_dir_all(home));
    assert!(error.to_string().contains(&bind), "{error}");
}

#[test]
fn a_driver_that_dies_leaves_nobody_waiting() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (near, _far) = memory::<FromClient, ToClient>();
    let (client, driver) = client::over(Epoch(1), u64::MAX, near);
    runtime.spawn(driver);
    let pending = client.submit(task("x")).unwrap();
    client.watch(pending);
    runtime.block_on(tokio::task::yield_now());
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || take(&client, pending).outcome)
    };
    drop(runtime);
    assert_eq!(waiting.join().unwrap(), Err(Loss::Unreachable));
    let mut told = Vec::new();
    client.next_watched(PATIENCE, &mut told);
    assert_eq!(told, [pending]);
}
