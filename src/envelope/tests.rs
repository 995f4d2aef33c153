use std::error::Error as _;
use std::io::{self, Cursor, Read, Write};

use super::recognise::ARMOR;
use super::*;

/// Gives 1, 2, … `max` bytes at a time, and 1 again: what a pipe may do.
struct Dribble {
    bytes: Cursor<Vec<u8>>,
    max: usize,
    next: usize,
}

impl Read for Dribble {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.next = self.next % self.max + 1;
        let n = self.next.min(buf.len());
        self.bytes.read(&mut buf[..n])
    }
}

fn dribble(bytes: &[u8], max: usize) -> Box<dyn Read + Send> {
    Box::new(Dribble { bytes: Cursor::new(bytes.to_vec()), max, next: 0 })
}

/// Answers from a list of passphrases and identities, and counts how often it was asked.
#[derive(Default)]
struct Canned {
    passphrases: Vec<&'static str>,
    identities: Vec<age::x25519::Identity>,
    asked: usize,
}

impl Secrets for Canned {
    fn passphrase(&mut self, attempt: u32) -> Result<Option<Passphrase>, SecretError> {
        self.asked += 1;
        Ok(self.passphrases.get(attempt as usize - 1).map(|&p| Passphrase::from(p.to_string())))
    }

    fn identities(&mut self) -> Result<Vec<Identity>, SecretError> {
        self.asked += 1;
        Ok(self.identities.iter().map(|i| Box::new(i.clone()) as Identity).collect())
    }
}

fn knows(passphrase: &'static str) -> Canned {
    Canned { passphrases: vec![passphrase], ..Canned::default() }
}

/// Bytes that no compressor shortens much, so that layers are longer than their buffers.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(content, 1).unwrap()
}

fn sealed(content: &[u8], encryption: &Encryption) -> Vec<u8> {
    let mut seal = seal(Vec::new(), encryption).unwrap();
    seal.write_all(content).unwrap();
    seal.finish().unwrap()
}

fn with_passphrase(content: &[u8], passphrase: &str) -> Vec<u8> {
    sealed(content, &Encryption::Passphrase(Passphrase::from(passphrase.to_string()), 2))
}

fn armored(content: &[u8], identity: &age::x25519::Identity) -> Vec<u8> {
    age::encrypt_and_armor(&identity.to_public(), content).unwrap().into_bytes()
}

fn read(bytes: &[u8], secrets: &mut dyn Secrets) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(dribble(bytes, 7919), secrets).unwrap().read_to_end(&mut content)?;
    Ok(content)
}

/// The damage that opening or reading finds, and what was handed out before.
fn damage(bytes: &[u8], secrets: &mut dyn Secrets) -> (Damaged, Vec<u8>) {
    let mut content = Vec::new();
    let mut opened = match open(dribble(bytes, 65_537), secrets) {
        Ok(opened) => opened,
        Err(Error::Damaged(damaged)) => return (damaged, content),
        Err(error) => panic!("{error}"),
    };
    let error = opened.read_to_end(&mut content).unwrap_err();
    let found = Damaged::find(&error).unwrap_or_else(|| panic!("{error}")).clone();
    let again = opened.read(&mut [0; 10]).unwrap_err();
    assert_eq!(Damaged::find(&again), Some(&found), "a damaged layer stays damaged");
    (found, content)
}

#[test]
fn a_bare_input_passes_untouched() {
    for content in [&b""[..], b"x", b"age-encryption.or", b"\x1f\x8b", &noise(100_000)] {
        let mut secrets = Canned::default();
        let mut opened = open(dribble(content, 3), &mut secrets).unwrap();
        assert_eq!(opened.layers(), []);
        let mut out = Vec::new();
        opened.read_to_end(&mut out).unwrap();
        assert_eq!(out, content);
        assert_eq!(secrets.asked, 0);
    }
}

#[test]
fn every_layer_opens_in_any_nesting_and_with_short_reads() {
    let identity = age::x25519::Identity::generate();
    let content = noise(200_000);
    let wrapped = gzip(&armored(&zstd(&with_passphrase(&content, "p")), &identity));
    for max in [1, 13, 70_000] {
        let mut secrets = knows("p");
        secrets.identities.push(identity.clone());
        let mut opened = open(dribble(&wrapped, max), &mut secrets).unwrap();
        assert_eq!(opened.layers(), [LayerKind::Gzip, LayerKind::Armored, LayerKind::Zstd, LayerKind::Age]);
        let mut out = Vec::new();
        opened.read_to_end(&mut out).unwrap();
        assert!(out == content);
    }
}

#[test]
fn an_empty_content_is_opened_too() {
    for wrapped in [gzip(b""), zstd(b""), with_passphrase(b"", "p")] {
        assert_eq!(read(&wrapped, &mut knows("p")).unwrap(), b"");
    }
}

#[test]
fn gzip_members_follow_each_other_and_zeros_may_follow_them() {
    let members = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
    assert_eq!(read(&members, &mut Canned::default()).unwrap(), b"one two");
    let padded = [&members[..], &[0; 100_000]].concat();
    assert_eq!(read(&padded, &mut Canned::default()).unwrap(), b"one two");
    for tail in [&b"rubbish"[..], b"\0\0rubbish", b"\x1f"] {
        let (damaged, _) = damage(&[&members[..], tail].concat(), &mut Canned::default());
        assert_eq!(damaged.format, LayerKind::Gzip);
    }
}

#[test]
fn zstd_frames_follow_each_other_and_some_are_skipped() {
    let skipped = [&b"\x52\x2a\x4d\x18\x05\0\0\0"[..], b"hello"].concat();
    let frames = [&skipped[..], &zstd(b"one "), &skipped, &zstd(b"two"), &skipped].concat();
    assert_eq!(read(&frames, &mut Canned::default()).unwrap(), b"one two");
}

#[test]
fn a_zstd_window_beyond_the_bound_is_refused() {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&noise(1000)).unwrap();
    let wide = encoder.finish().unwrap();
    let error = open(dribble(&wide, 100), &mut Canned::default()).unwrap_err();
    assert!(matches!(error, Error::Window), "{error:?}");
    assert!(error.hint("chatto-load").unwrap().contains("zstd -dc --long=31 FILE | chatto-load"));
}

#[test]
fn only_the_outermost_zstd_layer_may_have_a_large_window() {
    let large = |content: &[u8]| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG_NESTED + 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(read(&large(&zstd(b"content")), &mut Canned::default()).unwrap(), b"content");
    let error = open(dribble(&zstd(&large(b"content")), 100), &mut Canned::default()).unwrap_err();
    assert!(matches!(error, Error::Window), "{error:?}");
}

#[test]
fn a_cut_anywhere_is_damage_and_no_unproven_byte_of_age_is_handed_out() {
    // An identity, because a passphrase costs a fraction of a second for every cut.
    let mut secrets = Canned { identities: vec![age::x25519::Identity::generate()], ..Canned::default() };
    let encryption = Encryption::Recipients(vec![Box::new(secrets.identities[0].to_public())]);
    let content = noise(2 * 65_536 + 100);
    let wholes = [
        (LayerKind::Gzip, gzip(&content)),
        (LayerKind::Zstd, zstd(&content)),
        (LayerKind::Age, sealed(&content, &encryption)),
        (LayerKind::Age, sealed(&content[..65_536], &encryption)),
        (LayerKind::Gzip, gzip(&sealed(&content, &encryption))),
        (LayerKind::Age, sealed(&gzip(&content), &encryption)),
    ];
    for (format, whole) in wholes {
        let len = whole.len();
        // Shorter than this, an age file does not say that it is one.
        let version = if whole.starts_with(b"age") { 20..40 } else { 0..0 };
        let cuts = version.chain((40..400).step_by(9)).chain((400..len).step_by(9973)).chain(len - 40..len);
        for cut in cuts {
            let (damaged, given) = damage(&whole[..cut], &mut secrets);
            assert_eq!(damaged.format, format, "cut at {cut} of {len}: {damaged}");
            assert!(content.starts_with(&given), "cut at {cut} of {len}");
            if format == LayerKind::Age {
                assert_eq!(damaged.after % 65_536, 0, "only whole chunks");
            }
        }
    }
}

#[test]
fn a_changed_byte_of_an_age_file_is_damage_or_a_lock() {
    let mut secrets = Canned { identities: vec![age::x25519::Identity::generate()], ..Canned::default() };
    let encryption = Encryption::Recipients(vec![Box::new(secrets.identities[0].to_public())]);
    let content = noise(70_000);
    let whole = sealed(&content, &encryption);
    let header = whole.windows(5).position(|w| w == b"\n--- ").unwrap();
    for at in (22..header + 300).chain(whole.len() - 20..whole.len()) {
        let mut altered = whole.clone();
        altered[at] ^= 0x04;
        let mut given = Vec::new();
        match open(dribble(&altered, 1000), &mut secrets) {
            Err(Error::Damaged(_) | Error::Locked(_)) => {}
            Err(error) => panic!("byte {at}: {error:?}"),
            Ok(mut opened) => {
                let error = opened.read_to_end(&mut given).unwrap_err();
                assert!(Damaged::find(&error).is_some(), "byte {at}: {error:?}");
                assert!(content.starts_with(&given));
            }
        }
    }
}

#[test]
fn an_age_file_cut_inside_its_header_is_cut_off() {
    let mut secrets = Canned { identities: vec![age::x25519::Identity::generate()], ..Canned::default() };
    let encryption = Encryption::Recipients(vec![Box::new(secrets.identities[0].to_public())]);
    let whole = sealed(&noise(100), &encryption);
    let mac = whole.windows(5).position(|w| w == b"\n--- ").unwrap();
    for len in b"age-encryption.org/".len()..mac + 49 {
        match open(dribble(&whole[..len], 7), &mut secrets) {
            Err(Error::Damaged(damaged)) => assert_eq!(damaged.kind, DamageKind::Cut, "{len} bytes"),
            other => panic!("{len} bytes: {:?}", other.err()),
        }
    }
}

#[test]
fn a_wrong_checksum_of_gzip_and_zstd_is_damage() {
    let mut altered = gzip(&noise(1000));
    let crc = altered.len() - 8;
    altered[crc] ^= 1;
    assert_eq!(damage(&altered, &mut Canned::default()).0.kind, DamageKind::Altered);

    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(&noise(1000)).unwrap();
    let mut altered = encoder.finish().unwrap();
    let checksum = altered.len() - 1;
    altered[checksum] ^= 1;
    assert_eq!(damage(&altered, &mut Canned::default()).0.format, LayerKind::Zstd);
}

#[test]
fn bytes_after_the_end_of_an_age_file_are_damage() {
    for len in [0, 100, 65_536] {
        let longer = [&with_passphrase(&noise(len), "p")[..], b"x"].concat();
        assert_eq!(damage(&longer, &mut knows("p")).0.format, LayerKind::Age);
    }
}

#[test]
fn damage_is_found_however_deep_it_is_wrapped() {
    let whole = gzip(&noise(100_000));
    let mut opened = open(dribble(&whole[..50_000], 1000), &mut Canned::default()).unwrap();
    let error = io::copy(&mut opened, &mut io::sink()).unwrap_err();
    let again = io::Error::other(io::Error::new(error.kind(), error));
    let story = anyhow::Error::new(again).context("cannot restore");
    let damaged = Damaged::find(story.as_ref() as &(dyn std::error::Error + 'static)).unwrap();
    assert_eq!((damaged.format, damaged.kind), (LayerKind::Gzip, DamageKind::Cut));
    assert!(damaged.to_string().starts_with("gzip layer is cut off after 4"), "{damaged}");
}

#[test]
fn an_unreadable_input_is_not_damage() {
    struct Broken(Cursor<Vec<u8>>);
    impl Read for Broken {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(io::Error::from_raw_os_error(5)),
                n => Ok(n),
            }
        }
    }
    let content = noise(300_000);
    for whole in [content.clone(), gzip(&content), zstd(&content), with_passphrase(&gzip(&content), "p")] {
        for cut in [0, 10, 60, 100_000] {
            let input = Box::new(Broken(Cursor::new(whole[..cut].to_vec())));
            let error = match open(input, &mut knows("p")) {
                Ok(mut opened) => io::copy(&mut opened, &mut io::sink()).unwrap_err(),
                Err(Error::Read(error)) => error,
                Err(error) => panic!("{error:?}"),
            };
            assert_eq!(error.raw_os_error(), Some(5), "{error:?}");
        }
    }
}

#[test]
fn the_right_passphrase_may_come_after_wrong_ones() {
    let whole = with_passphrase(b"content", "right");
    let mut secrets = Canned { passphrases: vec!["wrong", "no", "right"], ..Canned::default() };
    assert_eq!(read(&whole, &mut secrets).unwrap(), b"content");
    assert_eq!(secrets.asked, 3);
}

#[test]
fn what_does_not_open_is_locked() {
    let mine = age::x25519::Identity::generate();
    let theirs = age::x25519::Identity::generate();
    let by_passphrase = with_passphrase(b"", "right");
    let by_identity = armored(b"", &theirs);
    let with_mine = || Canned { identities: vec![mine.clone()], ..Canned::default() };
    let cases = [
        (&by_passphrase, knows("wrong"), Locked::Passphrase),
        (&by_passphrase, with_mine(), Locked::Passphrase),
        (&by_identity, knows("right"), Locked::NoIdentity),
        (&by_identity, with_mine(), Locked::Identity),
    ];
    for (whole, mut secrets, expected) in cases {
        match open(dribble(whole, 1000), &mut secrets) {
            Err(Error::Locked(locked)) => assert_eq!(locked, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_hostile_work_factor_is_refused_before_anybody_is_asked() {
    let whole = with_passphrase(b"", "p");
    let text = String::from_utf8_lossy(&whole).into_owned();
    let line = text.lines().find(|line| line.starts_with("-> scrypt ")).unwrap();
    for factor in ["21", "30", "63", "64", "255", "256", "99999999999999999999", "-1", "x"] {
        let hostile = line.strip_suffix(" 2").unwrap().to_string() + " " + factor;
        let at = whole.windows(line.len()).position(|w| w == line.as_bytes()).unwrap();
        let altered = [&whole[..at], hostile.as_bytes(), &whole[at + line.len()..]].concat();
        let mut secrets = knows("p");
        let error = open(dribble(&altered, 1000), &mut secrets).unwrap_err();
        if ["-1", "x"].contains(&factor) {
            assert!(matches!(error, Error::Damaged(_)), "{factor}: {error:?}");
        } else {
            assert!(matches!(error, Error::Locked(Locked::Work(21..))), "{factor}: {error:?}");
        }
        assert_eq!(secrets.asked, 0);
    }
}

#[test]
fn headers_and_armor_without_end_are_refused_without_being_stored() {
    let stanzas = b"-> X25519 AAAA\nAAAA\n".repeat(100_000);
    let endless = [
        [b"age-encryption.org/v1\n", &stanzas[..]].concat(),
        [b"age-encryption.org/v1\n-> ", &vec![b'a'; 1 << 20][..]].concat(),
        [ARMOR, b"\n", &vec![b'A'; 1 << 20][..]].concat(),
    ];
    for input in endless {
        let (damaged, content) = damage(&input, &mut knows("p"));
        assert_eq!((damaged.kind, content.len()), (DamageKind::Altered, 0), "{damaged}");
    }
}

#[test]
fn a_future_version_of_age_is_named() {
    let endless = [b"age-encryption.org/v", &vec![b'1'; 1 << 20][..]].concat();
    for input in [&b"age-encryption.org/v2\nwhatever\n"[..], &endless] {
        let error = open(dribble(input, 5), &mut knows("p")).unwrap_err();
        assert!(matches!(error, Error::Version), "{error:?}");
    }
}

#[test]
fn too_many_layers_are_refused() {
    let mut wrapped = b"content".to_vec();
    for _ in 0..LAYERS_MAX {
        wrapped = gzip(&wrapped);
    }
    assert_eq!(read(&wrapped, &mut Canned::default()).unwrap(), b"content");
    let error = open(dribble(&gzip(&wrapped), 100), &mut Canned::default()).unwrap_err();
    assert!(matches!(error, Error::TooDeep), "{error:?}");
}

#[test]
fn what_others_unwrap_gets_their_command() {
    for (head, command) in
        [(&b"\xfd7zXZ\0\0"[..], "xz -dc"), (b"BZh91AY&SY", "bzip2 -dc"), (b"PK\x03\x04", "unzip -p")]
    {
        for wrapped in [head.to_vec(), gzip(head)] {
            let error = open(dribble(&wrapped, 1), &mut Canned::default()).unwrap_err();
            assert_eq!(
                error.hint("chatto-load").unwrap(),
                format!("unwrap it first: {command} FILE | chatto-load")
            );
        }
    }
}

#[test]
fn recipients_of_all_kinds_are_understood_and_others_named() {
    let identity = age::x25519::Identity::generate();
    let encryption = Encryption::Recipients(vec![recipient(&identity.to_public().to_string()).unwrap()]);
    let mut secrets = Canned { identities: vec![identity], ..Canned::default() };
    assert_eq!(read(&sealed(b"content", &encryption), &mut secrets).unwrap(), b"content");

    let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust";
    assert!(recipient(ssh).is_ok());
    for bad in ["", "age1"] {
        assert!(matches!(recipient(bad), Err(SecretError::NotARecipient(_))), "{bad}");
    }
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    assert!(matches!(recipient(secret), Err(SecretError::IsIdentity)));
}

#[test]
fn no_error_shows_a_secret() {
    let whole = with_passphrase(b"", "right");
    let error = open(dribble(&whole, 100), &mut knows("hunter2")).unwrap_err();
    let chain = format!("{error:?} {error} {:?}", error.source());
    assert!(!chain.contains("hunter2"), "{chain}");
}
