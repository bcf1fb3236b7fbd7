//! The key folder: made once, used again, and not at all if others could have touched it.

use super::fresh_home;
use plait::net::join::{Address, Role};
use plait::net::keys::{KeyError, Keyring, read_join_file};
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn addresses() -> Vec<Address> {
    vec!["10.0.0.5:8000".parse().unwrap()]
}

#[test]
fn keys_are_made_once_and_used_again() {
    let home = fresh_home().join("a/b");
    let first = Keyring::open(&home).unwrap();
    let again = Keyring::open(&home).unwrap();
    assert_eq!(first.pin(), again.pin());
    for role in [Role::Worker, Role::Client] {
        assert_eq!(first.join_line(role, addresses()), again.join_line(role, addresses()));
    }
    assert_ne!(first.pin(), Keyring::open(&fresh_home()).unwrap().pin());
    assert_eq!((mode(&home), mode(&home.join("coordinator.keys"))), (0o700, 0o600));
}

#[test]
fn openers_at_once_agree_on_the_keys() {
    let home = fresh_home();
    let openers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn({
                let home = home.clone();
                move || Keyring::open(&home)
            })
        })
        .collect();
    let pins: Vec<_> = openers.into_iter().map(|opener| opener.join().unwrap().unwrap().pin()).collect();
    assert!(pins.iter().all(|pin| *pin == pins[0]));
}

#[test]
fn join_files_are_rewritten_and_read_back() {
    let home = fresh_home();
    assert_eq!(read_join_file(&home, Role::Worker).unwrap(), None, "no folder yet");
    let keyring = Keyring::open(&home).unwrap();
    assert_eq!(read_join_file(&home, Role::Worker).unwrap(), None, "no coordinator yet");
    fs::write(home.join("worker.join.new"), "left by a crash").unwrap();
    keyring.write_join_files(&["old:1".parse().unwrap()]).unwrap();
    let lines = keyring.write_join_files(&addresses()).unwrap();
    for (line, role) in lines.iter().zip([Role::Worker, Role::Client]) {
        assert_eq!(read_join_file(&home, role).unwrap().as_ref(), Some(line));
        assert_eq!(mode(&home.join(format!("{role}.join"))), 0o600);
    }
    assert_eq!(fs::read_dir(&home).unwrap().count(), 4, "keys, lock and two join files, nothing else");
    fs::write(home.join("client.join"), "nonsense").unwrap();
    assert!(matches!(read_join_file(&home, Role::Client), Err(KeyError::Line { .. })));
}

#[test]
fn who_moves_in_with_a_living_coordinator_is_told_where_it_is() {
    let home = fresh_home();
    let first = Keyring::open(&home).unwrap();
    assert_eq!(first.move_in().unwrap(), None);
    first.write_join_files(&addresses()).unwrap();
    let tenant = Keyring::open(&home).unwrap().move_in().unwrap().expect("the first one lives there");
    assert_eq!((tenant.home.as_path(), tenant.addresses.as_slice()), (home.as_path(), addresses().as_slice()));
    let second = Keyring::open(&home).unwrap();
    assert!(second.move_in().unwrap().is_some());
    drop(first);
    assert!(Keyring::open(&home).unwrap().move_in().unwrap().is_some(), "the second one lives there");
    drop(second);
    assert_eq!(Keyring::open(&home).unwrap().move_in().unwrap(), None, "what is gone leaves no mark");
}

#[test]
fn files_and_folders_that_others_may_touch_are_refused() {
    let home = fresh_home();
    let keyring = Keyring::open(&home).unwrap();
    keyring.write_join_files(&addresses()).unwrap();
    let open_to = |path: &Path, bits| fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
    for file in ["coordinator.keys", "lock", "worker.join"] {
        let path = home.join(file);
        open_to(&path, 0o640);
        let refused = if file == "worker.join" {
            read_join_file(&home, Role::Worker).unwrap_err()
        } else {
            Keyring::open(&home).unwrap_err()
        };
        assert!(matches!(refused, KeyError::TooOpen { mode: 0o640, .. }), "{refused:?}");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        open_to(&path, 0o600);
    }
    open_to(&home, 0o770);
    assert!(matches!(Keyring::open(&home), Err(KeyError::TooOpen { mode: 0o770, .. })));
    assert!(matches!(read_join_file(&home, Role::Worker), Err(KeyError::TooOpen { .. })));
    open_to(&home, 0o755);
    assert_eq!(Keyring::open(&home).unwrap().pin(), keyring.pin(), "a folder that others may read holds no risk");
}

#[test]
fn links_are_not_followed() {
    let (home, elsewhere) = (fresh_home(), fresh_home());
    let pin = Keyring::open(&elsewhere).unwrap().pin();
    symlink(&elsewhere, &home).unwrap();
    assert!(matches!(Keyring::open(&home), Err(KeyError::Link(_))));
    for file in ["coordinator.keys", "lock"] {
        let home = fresh_home();
        DirBuilder::new().mode(0o700).create(&home).unwrap();
        symlink(elsewhere.join("coordinator.keys"), home.join(file)).unwrap();
        let refused = Keyring::open(&home).unwrap_err();
        assert!(matches!(refused, KeyError::Link(_)), "{file}: {refused:?}");
    }
    let home = fresh_home();
    let keyring = Keyring::open(&home).unwrap();
    let target = elsewhere.join("target");
    fs::write(&target, "untouched").unwrap();
    symlink(&target, home.join("worker.join.new")).unwrap();
    symlink(&target, home.join("worker.join")).unwrap();
    keyring.write_join_files(&addresses()).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
    assert!(read_join_file(&home, Role::Worker).unwrap().is_some());
    assert_eq!(Keyring::open(&elsewhere).unwrap().pin(), pin);
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let home = fresh_home();
    DirBuilder::new().mode(0o700).create(&home).unwrap();
    DirBuilder::new().mode(0o700).create(home.join("coordinator.keys")).unwrap();
    assert!(matches!(Keyring::open(&home), Err(KeyError::WrongKind { .. })));
    let file = fresh_home();
    fs::write(&file, "").unwrap();
    assert!(Keyring::open(&file).is_err());
}

#[test]
fn keys_of_another_user_are_refused() {
    let home = fresh_home();
    drop(Keyring::open(&home).unwrap());
    let path = home.join("coordinator.keys");
    if fs::metadata(&path).unwrap().uid() != 0 {
        return; // Only root can give a file away.
    }
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    assert!(matches!(Keyring::open(&home), Err(KeyError::Owner { owner: 12_345, user: 0, .. })));
}

#[test]
fn damaged_keys_are_told_and_left_alone() {
    let home = fresh_home();
    drop(Keyring::open(&home).unwrap());
    let path = home.join("coordinator.keys");
    let good = fs::read_to_string(&path).unwrap();
    for bad in ["", "plait keys 2\n", &good[..good.len() - 3], &good.replace("worker", "walker"), &(good.clone() + "x")]
    {
        fs::write(&path, bad).unwrap();
        let refused = Keyring::open(&home).unwrap_err();
        assert!(matches!(refused, KeyError::Damaged(_)), "{refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
}
