//! What blobs promise, on a local folder and in a bucket of an S3 server.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use plinth_core::{ArtifactLimits, Coded, ContentHash, codes};
use plinth_store::{Access, BlobReader, Environment, Location, Setup, Store, StoreError, collect, doctor_set};
use plinth_test_objects::{BUCKET, Fault, SECRET, Server};

/// Larger than what is sent in one request.
const LARGE: usize = (17 << 20) + 5;
const HOUR: Duration = Duration::from_secs(3_600);

/// A state directory whose blobs lie in it, or in a bucket.
struct Place {
    dir: tempfile::TempDir,
    setup: Setup,
    bucket: Option<(Server, PathBuf)>,
}

impl Place {
    fn local() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), setup: Setup::default(), bucket: None }
    }

    fn bucket() -> Self {
        Self::bucket_with(ArtifactLimits { request_ms_max: 10_000, ..ArtifactLimits::default() })
    }

    fn bucket_with(artifacts: ArtifactLimits) -> Self {
        let server = Server::start();
        let setup = Setup { artifacts, environment: environment(&server), ..Setup::default() };
        let dir = tempfile::tempdir().unwrap();
        Store::put_blobs_in(dir.path(), &location("s3://artifacts/ml/plinth"), &setup).unwrap();
        let folder = server.bucket(BUCKET).join("ml/plinth");
        Self { dir, setup, bucket: Some((server, folder)) }
    }

    fn server(&self) -> &Server {
        &self.bucket.as_ref().unwrap().0
    }

    fn open(&self, access: Access) -> Store {
        Store::open_set(self.dir.path(), &self.setup, access).unwrap()
    }

    fn shared(&self) -> Store {
        self.open(Access::Shared)
    }

    fn writer(&self) -> Store {
        self.open(Access::Writer { command: "test".into() })
    }

    /// Where the truth about a blob lies.
    fn file(&self, hash: &ContentHash) -> PathBuf {
        let hex = hash.to_hex();
        let root = self.bucket.as_ref().map_or(self.dir.path(), |(_, folder)| folder.as_path());
        root.join("blobs").join(&hex[..2]).join(&hex[2..])
    }

    /// Forgets the copies.
    fn forget(&self) {
        if self.bucket.is_some() {
            fs::remove_dir_all(self.dir.path().join("copies/blobs")).unwrap();
            fs::create_dir(self.dir.path().join("copies/blobs")).unwrap();
        }
    }

    fn age(&self, hash: &ContentHash, age: Duration) {
        let file = fs::File::options().write(true).open(self.file(hash)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        let tmp = self.dir.path().join(if self.bucket.is_some() { "copies/tmp" } else { "tmp" });
        fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn environment(server: &Server) -> Environment {
    let variables = server.environment();
    Environment::new(move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
}

fn location(text: &str) -> Location {
    text.parse().unwrap()
}

/// On both.
fn everywhere(test: impl Fn(&Place)) {
    for place in [Place::local(), Place::bucket()] {
        test(&place);
    }
}

fn large() -> &'static [u8] {
    static LARGE_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    LARGE_BYTES.get_or_init(|| (0..LARGE as u64).map(|i| ((i * i) >> 7) as u8).collect())
}

fn all(mut reader: BlobReader) -> Result<Vec<u8>, (usize, StoreError)> {
    let mut bytes = Vec::new();
    loop {
        match reader.piece() {
            Ok(Some(piece)) => bytes.extend(piece),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err((bytes.len(), error)),
        }
    }
}

fn name(store: &Store, path: &str, hash: ContentHash) {
    let sql = "INSERT INTO files (path, blob, bytes, updated_us) VALUES ($1, $2, 1, 0)";
    store.catalog().write::<_, StoreError>(|tx| tx.execute(sql, &[path.into(), hash.into()])).unwrap();
}

#[test]
fn what_was_put_comes_back_whole_and_in_part() {
    everywhere(|place| {
        let store = place.shared();
        let blobs = store.blobs();
        for bytes in [&b""[..], b"x", &large()[..700_000], large()] {
            let hash = blobs.put(bytes).unwrap();
            assert_eq!(hash, ContentHash::of(bytes));
            assert_eq!(fs::read(place.file(&hash)).unwrap(), bytes, "it is where it must be when it is answered");
            for forget in [false, true] {
                if forget {
                    place.forget();
                }
                assert_eq!(blobs.size(&hash).unwrap(), bytes.len() as u64);
                assert!(blobs.contains(&hash).unwrap());
                assert_eq!(all(blobs.reader(&hash, None).unwrap()).unwrap(), bytes);
                assert_eq!(blobs.get(&hash).unwrap(), bytes);
                assert_eq!(fs::read(blobs.checked_path(&hash).unwrap()).unwrap(), bytes);
            }
            place.forget();
            let n = bytes.len() as u64;
            for range in [0..1, n / 2..n / 2 + 5_000_000, n.saturating_sub(3)..n, n..n + 9, 7..7] {
                let part = &bytes[range.start.min(n) as usize..range.end.min(n) as usize];
                assert_eq!(all(blobs.reader(&hash, Some(range)).unwrap()).unwrap(), part);
            }
        }
        let mut wanted = [b"".as_slice(), b"x", &large()[..700_000], large()].map(ContentHash::of);
        wanted.sort_unstable();
        assert_eq!(blobs.list().unwrap(), wanted);
        assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
    });
}

#[test]
fn pieces_and_files_are_put_too_and_half_of_them_is_nothing() {
    everywhere(|place| {
        let store = place.shared();
        let mut writer = store.blobs().writer().unwrap();
        for piece in large().chunks(999_999) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), (ContentHash::of(large()), LARGE as u64));
        let file = place.dir.path().join("file");
        fs::write(&file, b"from a file").unwrap();
        let (hash, bytes) = store.blobs().put_file(&file).unwrap();
        assert_eq!((store.blobs().get(&hash).unwrap(), bytes), (b"from a file".to_vec(), 11));
        let mut half = store.blobs().writer().unwrap();
        half.write_all(b"half").unwrap();
        drop(half);
        assert_eq!(store.blobs().list().unwrap().len(), 2);
        assert!(place.leftovers().is_empty());
    });
}

#[test]
fn what_is_not_there_is_told() {
    everywhere(|place| {
        let store = place.shared();
        let (blobs, hash) = (store.blobs(), ContentHash::of(b"nowhere"));
        assert!(!blobs.contains(&hash).unwrap());
        for error in [
            blobs.get(&hash).unwrap_err(),
            blobs.size(&hash).unwrap_err(),
            blobs.check(&hash).unwrap_err(),
            blobs.open_checked(&hash).unwrap_err(),
            blobs.checked_path(&hash).unwrap_err(),
            blobs.reader(&hash, None).unwrap_err(),
            blobs.reader(&hash, Some(0..1)).unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::BlobNotFound { .. }), "{error}");
        }
    });
}

#[test]
fn wrong_bytes_are_never_handed_out_to_their_end() {
    everywhere(|place| {
        let store = place.shared();
        let blobs = store.blobs();
        let hash = blobs.put(large()).unwrap();
        let mut flipped = large().to_vec();
        flipped[LARGE / 2] ^= 1;
        // Too long, too short, and as long as it should be.
        for bytes in [[large(), b"more"].concat(), large()[..LARGE / 2].to_vec(), flipped] {
            fs::write(place.file(&hash), &bytes).unwrap();
            place.forget();
            let corrupt = |error: StoreError| assert!(matches!(error, StoreError::BlobCorrupt { .. }), "{error}");
            let (sent, error) = all(blobs.reader(&hash, None).unwrap()).unwrap_err();
            assert!(sent < bytes.len());
            corrupt(error);
            corrupt(blobs.reader(&hash, Some(0..3)).unwrap_err());
            corrupt(blobs.get(&hash).unwrap_err());
            corrupt(blobs.check(&hash).unwrap_err());
            corrupt(blobs.open_checked(&hash).unwrap_err());
            corrupt(blobs.checked_path(&hash).unwrap_err());
        }
        // Of another length, it is healed by whoever puts it again.
        fs::write(place.file(&hash), b"short").unwrap();
        place.forget();
        blobs.put(large()).unwrap();
        assert_eq!(blobs.get(&hash).unwrap(), large());
    });
}

#[test]
fn many_who_put_the_same_bytes_at_once_make_one_blob() {
    everywhere(|place| {
        let store = place.shared();
        let hash = ContentHash::of(b"the same");
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    assert_eq!(store.blobs().put(b"the same").unwrap(), hash);
                    assert_eq!(store.blobs().get(&hash).unwrap(), b"the same");
                });
            }
        });
        assert_eq!(store.blobs().list().unwrap(), [hash]);
    });
}

#[test]
fn a_collector_takes_what_is_old_and_unnamed() {
    everywhere(|place| {
        let store = place.writer();
        let put = |bytes: &[u8], age: Duration| {
            let hash = store.blobs().put(bytes).unwrap();
            place.age(&hash, age);
            hash
        };
        let (named, old, young) = (put(b"named", 2 * HOUR), put(b"old", 2 * HOUR), put(b"young", HOUR / 2));
        name(&store, "1/r/artifacts/a", named);
        let found = collect(&store, HOUR, true, &[]).unwrap();
        assert_eq!((found.kept, found.young, found.removed, found.removed_bytes), (1, 1, 1, 3));
        assert!(store.blobs().contains(&old).unwrap(), "a dry run");
        assert_eq!(collect(&store, HOUR, false, &[]).unwrap(), found);
        assert!(!store.blobs().contains(&old).unwrap() && !place.file(&old).exists());
        assert!(matches!(store.blobs().get(&old), Err(StoreError::BlobNotFound { .. })), "no copy outlives it");
        for hash in [named, young] {
            assert!(store.blobs().contains(&hash).unwrap());
        }
        // What is put again is young again.
        let again = put(b"again", 2 * HOUR);
        store.blobs().put(b"again").unwrap();
        assert_eq!(collect(&store, HOUR, false, &[]).unwrap().removed, 0);
        assert!(store.blobs().contains(&again).unwrap());
    });
}

#[test]
fn writers_and_collectors_at_once_lose_nothing() {
    everywhere(|place| {
        let store = place.writer();
        let bytes = |n: u8| [n; 100];
        for n in 0..10 {
            place.age(&store.blobs().put(&bytes(n)).unwrap(), 2 * HOUR);
        }
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|w| {
                    let store = &store;
                    scope.spawn(move || {
                        for n in 0..10 {
                            let hash = store.blobs().put(&bytes(n)).unwrap();
                            name(store, &format!("{w}/{n}"), hash);
                        }
                    })
                })
                .collect();
            while writers.iter().any(|writer| !writer.is_finished()) {
                collect(&store, HOUR, false, &[]).unwrap();
            }
        });
        place.forget();
        for n in 0..10 {
            assert_eq!(store.blobs().get(&ContentHash::of(&bytes(n))).unwrap(), bytes(n));
        }
    });
}

#[test]
fn a_doctor_names_what_is_lost_wrong_or_left_and_sets_the_wrong_aside() {
    everywhere(|place| {
        let store = place.shared();
        let (lost, wrong) = (store.blobs().put(b"lost").unwrap(), store.blobs().put(b"wrong").unwrap());
        name(&store, "1/lost", lost);
        name(&store, "1/wrong", wrong);
        drop(store);
        let look = |repair| doctor_set(place.dir.path(), &place.setup, repair).unwrap();
        assert_eq!(look(false), []);
        fs::remove_file(place.file(&lost)).unwrap();
        fs::write(place.file(&wrong), b"wrung").unwrap();
        let mut left = vec![lost.short(), wrong.short(), wrong.to_hex()];
        if let Some((server, folder)) = &place.bucket {
            fs::create_dir_all(folder.join("condemned").join(lost.to_hex())).unwrap();
            let announcement = folder.join("condemned").join(lost.to_hex()).join("dead");
            fs::write(&announcement, b"x").unwrap();
            let file = fs::File::options().write(true).open(&announcement).unwrap();
            file.set_modified(SystemTime::now() - HOUR).unwrap();
            fs::write(folder.join("blobs/stranger"), b"x").unwrap();
            left.extend(["condemned/".to_owned(), "blobs/stranger".to_owned()]);
            assert!(server.keys(BUCKET).len() > 3);
        }
        for repair in [false, true] {
            let findings = look(repair);
            for name in &left {
                assert!(findings.iter().any(|finding| finding.what.contains(name.as_str())), "{name}: {findings:?}");
            }
        }
        assert!(!place.file(&wrong).exists());
        let root = place.bucket.as_ref().map_or(place.dir.path(), |(_, folder)| folder);
        assert_eq!(fs::read(root.join("quarantine").join(wrong.to_hex())).unwrap(), b"wrung");
        let findings = look(false);
        assert!(!findings.iter().any(|finding| finding.what.contains("condemned/")), "{findings:?}");
    });
}

// From here on: what only a bucket has.

#[test]
fn what_fails_for_the_moment_is_tried_again() {
    let place = Place::bucket();
    let (store, server) = (place.shared(), place.server());
    for status in [500, 503] {
        server.fail("PUT", "blobs/", 3, Fault::Status(status));
        let bytes = format!("after {status}");
        let hash = store.blobs().put(bytes.as_bytes()).unwrap();
        place.forget();
        server.fail("GET", "blobs/", 3, Fault::Status(status));
        assert_eq!(store.blobs().get(&hash).unwrap(), bytes.as_bytes());
    }
    server.fail("PUT", "partNumber=2", 2, Fault::Status(500));
    server.fail("POST", "uploadId=", 1, Fault::Status(503));
    let hash = store.blobs().put(large()).unwrap();
    assert_eq!(fs::read(place.file(&hash)).unwrap(), large());
    // A body that breaks off, and an answer that does not come, are nothing else.
    place.forget();
    server.fail("GET", "blobs/", 2, Fault::Cut(1_000_000));
    assert_eq!(all(store.blobs().reader(&hash, None).unwrap()).unwrap(), large());
    server.fail("PUT", "blobs/", 2, Fault::Mute);
    let hash = store.blobs().put(b"carried out, but not told").unwrap();
    assert!(place.file(&hash).exists());
    server.fail("PUT", "blobs/", 1, Fault::WrongTag);
    server.fail("PUT", "blobs/", 1, Fault::Slow(Duration::from_millis(300)));
    assert_eq!(store.blobs().put(b"whatever the tag").unwrap(), ContentHash::of(b"whatever the tag"));
}

#[test]
fn what_fails_for_good_is_told_and_leaves_nothing() {
    let limits = ArtifactLimits { request_ms_max: 2_000, retries_max: 1, ..ArtifactLimits::default() };
    let place = Place::bucket_with(limits);
    let (store, server) = (place.shared(), place.server());
    store.blobs().reach().unwrap();
    server.fail("PUT", "partNumber=2", 1_000, Fault::Status(500));
    let error = store.blobs().put(large()).unwrap_err();
    assert_eq!(error.code(), codes::ARTIFACT_STORE_UNAVAILABLE, "{error}");
    assert!(error.to_string().contains("s3://artifacts/ml/plinth"), "{error}");
    assert!(!place.file(&ContentHash::of(large())).exists() && place.leftovers().is_empty());
    server.heal();
    let hash = store.blobs().put(large()).unwrap();
    place.forget();
    server.fail("GET", "blobs/", 1_000, Fault::Slow(Duration::from_secs(30)));
    assert_eq!(store.blobs().get(&hash).unwrap_err().code(), codes::ARTIFACT_STORE_UNAVAILABLE);
    server.heal();
    server.fail("GET", "blobs/", 1, Fault::Garble);
    assert!(matches!(store.blobs().get(&hash), Err(StoreError::BlobCorrupt { .. })));
    assert_eq!(store.blobs().get(&hash).unwrap(), large(), "it was the way, not the blob");
}

#[test]
fn copies_are_bounded_and_a_damaged_one_is_fetched_again() {
    let limits = ArtifactLimits { cache_bytes_max: 1_000_000, ..ArtifactLimits::default() };
    let place = Place::bucket_with(limits);
    let store = place.shared();
    let hashes: Vec<_> = (0..8_u8).map(|n| store.blobs().put(&[n; 300_000]).unwrap()).collect();
    let copies = || hashes.iter().filter(|hash| store.blobs().path(hash).exists()).count();
    assert!(copies() <= 4, "{}", copies());
    // One larger than all copies together is read all the same.
    let hash = store.blobs().put(&[9; 3_000_000]).unwrap();
    assert_eq!(all(store.blobs().reader(&hash, Some(5..7)).unwrap()).unwrap(), [9, 9]);
    assert_eq!(store.blobs().get(&hash).unwrap(), [9; 3_000_000]);
    place.server().requests();
    let last = hashes[7];
    store.blobs().get(&last).unwrap();
    store.blobs().get(&last).unwrap();
    let fetched = place.server().requests();
    assert!(fetched.iter().filter(|request| request.starts_with("GET")).count() <= 1, "{fetched:?}");
    fs::write(store.blobs().path(&last), [8; 300_000]).unwrap();
    assert_eq!(store.blobs().get(&last).unwrap(), [7; 300_000]);
    fs::write(store.blobs().path(&last), [8; 300_000]).unwrap();
    assert!(all(store.blobs().reader(&last, None).unwrap()).is_err(), "seen at its end");
    assert_eq!(all(store.blobs().reader(&last, None).unwrap()).unwrap(), [7; 300_000]);
}

#[test]
fn a_part_of_a_blob_is_fetched_once_for_all_who_want_parts() {
    let place = Place::bucket();
    let store = place.shared();
    let hash = store.blobs().put(large()).unwrap();
    place.forget();
    place.server().requests();
    std::thread::scope(|scope| {
        for n in 0..8_u64 {
            let store = &store;
            scope.spawn(move || {
                let range = n * 1_000_000..n * 1_000_000 + 10;
                let part = all(store.blobs().reader(&hash, Some(range.clone())).unwrap()).unwrap();
                assert_eq!(part, large()[range.start as usize..range.end as usize]);
            });
        }
    });
    let gets = place.server().requests().iter().filter(|request| request.starts_with("GET")).count();
    assert_eq!(gets, LARGE.div_ceil(4 << 20));
}

#[test]
fn a_full_disk_at_the_spool_is_told_as_one() {
    const NAME: &str = "blobs::a_full_disk_at_the_spool_is_told_as_one";
    if std::env::var_os("PLINTH_TEST_FULL").is_none() {
        // In a process of its own no file may grow past some megabytes.
        let done = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 8000; exec \"$0\" --exact \"$1\" --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env("PLINTH_TEST_FULL", "1")
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let place = Place::bucket();
    let store = place.shared();
    let mut writer = store.blobs().writer().unwrap();
    let refused = writer.write_all(large()).unwrap_err();
    let error = StoreError::writing(writer.path(), refused);
    assert_eq!(error.code(), codes::DISK_FULL, "{error}");
    drop(writer);
    assert!(store.blobs().list().unwrap().is_empty() && place.leftovers().is_empty());
    let small = store.blobs().put(b"small").unwrap();
    assert_eq!(store.blobs().get(&small).unwrap(), b"small");
}

#[test]
fn a_writer_waits_for_a_collector_that_announced_itself() {
    let place = Place::bucket();
    let store = place.shared();
    let hash = store.blobs().put(b"contested").unwrap();
    place.age(&hash, 2 * HOUR);
    let folder = place.bucket.as_ref().unwrap().1.join("condemned").join(hash.to_hex());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("one"), b"x").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| store.blobs().put(b"contested").unwrap());
        let server = place.server();
        // It sent the blob and looks again and again whether the announcement has ended.
        let mut looks = 0;
        while looks < 2 {
            looks += server.requests().iter().filter(|request| request.contains("condemned")).count();
            assert!(!writer.is_finished());
            std::thread::yield_now();
        }
        fs::remove_file(place.file(&hash)).unwrap();
        fs::remove_file(folder.join("one")).unwrap();
        assert_eq!(writer.join().unwrap(), hash);
    });
    assert_eq!(fs::read(place.file(&hash)).unwrap(), b"contested");
}

#[test]
fn a_bucket_belongs_to_one_catalog() {
    let place = Place::bucket();
    place.shared().blobs().put(b"x").unwrap();
    let other = tempfile::tempdir().unwrap();
    let set = |dir: &Path, url: &str| Store::put_blobs_in(dir, &location(url), &place.setup);
    let error = set(other.path(), "s3://artifacts/ml/plinth").unwrap_err();
    assert!(matches!(error, StoreError::BucketTaken { .. }), "{error}");
    assert!(matches!(set(place.dir.path(), "s3://artifacts/other"), Err(StoreError::BlobsElsewhere { .. })));
    // A directory that has blobs of its own keeps them.
    Store::open(other.path(), Access::Shared).unwrap().blobs().put(b"y").unwrap();
    assert!(matches!(set(other.path(), "s3://artifacts/other"), Err(StoreError::BlobsElsewhere { .. })));
    // Named again, and moved with its mark, it is found.
    set(place.dir.path(), "s3://artifacts/ml/plinth").unwrap();
    fs::rename(place.server().bucket(BUCKET).join("ml"), place.server().bucket(BUCKET).join("moved")).unwrap();
    let store = place.shared();
    assert!(matches!(store.blobs().reach(), Err(StoreError::BlobsAway { .. })));
    assert!(matches!(store.blobs().put(b"z"), Err(StoreError::BlobsAway { .. })));
    set(place.dir.path(), "s3://artifacts/moved/plinth").unwrap();
    place.shared().blobs().reach().unwrap();
}

#[test]
fn servers_that_share_a_catalog_share_the_bucket() {
    let (server, catalog) = (Server::start(), plinth_test_catalog::postgres());
    let setup = Setup { catalog: Some(catalog), environment: environment(&server), ..Setup::default() };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &Path| {
        Store::put_blobs_in(dir, &location("s3://artifacts/shared"), &setup).unwrap();
        Store::open_set(dir, &setup, Access::Shared).unwrap()
    };
    let hash = open(one.path()).blobs().put(b"from one").unwrap();
    let second = open(two.path());
    assert_eq!(second.blobs().get(&hash).unwrap(), b"from one");
    name(&second, "x", hash);
    let three = tempfile::tempdir().unwrap();
    let error = Store::put_blobs_in(three.path(), &location("s3://artifacts/new"), &setup).unwrap_err();
    assert!(matches!(error, StoreError::BlobsElsewhere { .. }), "{error}");
}

#[test]
fn a_bucket_that_cannot_be_used_is_told_with_the_variable_to_set_and_without_keys() {
    let server = Server::start();
    let told = |url: &str, changed: &[(&'static str, &str)]| {
        let mut variables = server.environment();
        for (name, value) in changed {
            variables.retain(|(known, _)| known != name);
            variables.push((name, (*value).to_owned()));
        }
        let look = move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.clone());
        let artifacts = ArtifactLimits { request_ms_max: 2_000, retries_max: 1, ..ArtifactLimits::default() };
        let setup = Setup { artifacts, environment: Environment::new(look), ..Setup::default() };
        let dir = tempfile::tempdir().unwrap();
        let error = Store::put_blobs_in(dir.path(), &location(url), &setup).unwrap_err();
        let text = format!("{error} / {}", error.hint().unwrap_or_default());
        assert!(!text.contains(SECRET) && !text.contains("not-the-secret"), "{text}");
        (error.code(), text)
    };
    let (code, text) = told("s3://no-such-bucket/x", &[]);
    assert_eq!(code, codes::ARTIFACT_STORE_UNAVAILABLE);
    assert!(text.contains("s3://no-such-bucket/x: there is no such bucket"), "{text}");
    for bad in [("AWS_SECRET_ACCESS_KEY", "not-the-secret"), ("AWS_ACCESS_KEY_ID", "AKIDNOBODY")] {
        let (code, text) = told("s3://artifacts/x", &[bad]);
        assert_eq!(code, codes::ARTIFACT_STORE_DENIED, "{text}");
        assert!(text.contains("s3://artifacts/x") && text.contains("set AWS_ACCESS_KEY_ID"), "{text}");
    }
    // A port where nobody listens any more.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = told("s3://artifacts/x", &[("AWS_ENDPOINT_URL", &format!("http://{nobody}"))]);
    assert_eq!(code, codes::ARTIFACT_STORE_UNAVAILABLE);
    assert!(text.contains(&nobody.to_string()) && text.contains("AWS_ENDPOINT_URL"), "{text}");
    let (code, text) = told("s3://artifacts/x", &[("AWS_ENDPOINT_URL", "ftp://x")]);
    assert_eq!(code, codes::BAD_CONFIG, "{text}");
}
