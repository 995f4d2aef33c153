//! JetStream domains: from a leaf node to the hub's, and from the hub to a leaf node's.

use std::time::Duration;

use crate::support::port::Port;
use crate::support::programs::{program, run, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, faults, fixtures};
use anyhow::{Context, Result};
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use futures_util::StreamExt as _;
use serde_json::json;

/// How long a leaf node may take to find its hub.
const CONNECTED: Duration = Duration::from_secs(120);

/// A hub and a leaf node that is connected to it, each with a domain of its name; and where the hub listens
/// for it.
async fn hub_and_leaf(release: &str) -> Result<(Server, Server, Port)> {
    let kept = Port::keep();
    let port = kept.number();
    let start = |name: &str, leafnodes: String| {
        let extra = format!("jetstream {{ domain: {name} }}\nleafnodes {{ {leafnodes} }}");
        let options = Options { name: name.into(), access: Authorization::Open, extra, ..Options::default() };
        Server::start_with(release, options)
    };
    let hub = start("hub", format!("listen: \"127.0.0.1:{port}\""));
    let leaf = start("leaf", format!("remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}]"));
    let (a, b) = (hub.client().await?, leaf.client().await?);
    // Nobody announces it, so this asks until both answer. What is asked while a link ends is never answered.
    let both = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        for (client, subject) in [(&a, "$JS.leaf.API.INFO"), (&b, "$JS.hub.API.INFO")] {
            let ask = || tokio::time::timeout(Duration::from_secs(5), client.request(subject, "".into()));
            while !matches!(ask().await, Ok(Ok(_))) {
                again.tick().await;
            }
        }
    };
    tokio::time::timeout(CONNECTED, both).await.context("the leaf node does not find its hub")?;
    Ok((hub, leaf, kept))
}

fn in_domain(name: &str, through: &Server, domain: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = program(name);
    command.args(arguments).args(["-s", &through.url(), "--js-domain", domain]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_and_a_load_in_both_directions() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let source = Server::start(release);
        let client = source.client().await?;
        let built = fixtures::v0_4(&client, source.version(), 4, 100).await?;
        faults::large_stream(&client, source.version(), "LARGE", 12, 1).await?;
        let archive = faults::archive_of(&source);
        let kept = |name: &str| name == "LARGE" || built.is_kept(name);

        for through_leaf in [true, false] {
            let (hub, leaf, _port) = hub_and_leaf(release).await?;
            let (through, into, domain) =
                if through_leaf { (&leaf, &hub, "hub") } else { (&hub, &leaf, "leaf") };
            run_with(in_domain("chatto-load", through, domain, &[]), &archive).expect_code(0);
            assert_eq!(api::stream_names(&through.client().await?).await?, [""; 0], "the other domain's");
            let differences = equality::differences(&client, &into.client().await?, kept).await?;
            assert_eq!(differences, [""; 0], "{release} into {domain}");

            let again = run(in_domain("chatto-dump", through, domain, &[])).expect_code(0).stdout;
            let destination = Server::start(release);
            crate::support::archive::load(&destination, &[], &again).expect_code(0);
            let differences = equality::differences(&client, &destination.client().await?, kept).await?;
            assert_eq!(differences, [""; 0], "{release} from {domain}");

            // And over what is there, which needs everything that a load can do.
            let directory = tempfile::tempdir()?;
            let rescue = directory.path().to_str().context("a path")?;
            let overwrite = ["--conflict", "overwrite", "--rescue-dir", rescue];
            run_with(in_domain("chatto-load", through, domain, &overwrite), &archive).expect_code(0);
            let differences = equality::differences(&client, &into.client().await?, kept).await?;
            assert_eq!(differences, [""; 0], "{release} over {domain}");
        }
    }
    Ok(())
}

/// How many restores a server may be asked for at once depends on its release, and a leaf node tells its own.
#[tokio::test(flavor = "multi_thread")]
async fn streams_go_one_after_another_to_a_hub_whose_release_is_not_known() -> Result<()> {
    let source = Server::start(LATEST);
    fixtures::v0_4(&source.client().await?, source.version(), 4, 100).await?;
    let archive = faults::archive_of(&source);
    let (hub, leaf, _port) = hub_and_leaf(LATEST).await?;
    let client = hub.client().await?;
    let mut news = client.subscribe("$JS.EVENT.ADVISORY.STREAM.>").await?;
    client.flush().await?;
    run_with(in_domain("chatto-load", &leaf, "hub", &[]), &archive).expect_code(0);
    let mut left = api::stream_names(&client).await?.len();
    let mut begun = None;
    while left > 0 {
        let subject = news.next().await.context("the connection ended")?.subject.to_string();
        match subject.rsplit('.').collect::<Vec<_>>()[..] {
            [stream, "RESTORE_CREATE", ..] => {
                assert_eq!(begun.replace(stream.to_owned()), None, "and {stream}")
            }
            [stream, "RESTORE_COMPLETE", ..] => {
                assert_eq!(begun.take().as_deref(), Some(stream));
                left -= 1;
            }
            _ => {}
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys() -> Result<()> {
    let source = Server::start(LATEST);
    fixtures::v0_4(&source.client().await?, source.version(), 4, 100).await?;
    let keys =
        |export: &[u8]| anyhow::Ok(serde_json::from_slice::<serde_json::Value>(export)?["keys"].take());
    let mut export = crate::support::programs::program_for("chatto-keys", &source);
    export.arg("export");
    let exported = run(export).expect_code(0).stdout;

    let (hub, leaf, _port) = hub_and_leaf(LATEST).await?;
    for (through, into, domain) in [(&leaf, &hub, "hub"), (&hub, &leaf, "leaf")] {
        run_with(in_domain("chatto-keys", through, domain, &["import"]), &exported).expect_code(0);
        let state =
            faults::state_of(&into.client().await?, "KV_ENCRYPTION_KEYS").await?.context("the bucket")?;
        assert_ne!(state["messages"], json!(0));
        let again = run(in_domain("chatto-keys", through, domain, &["export"])).expect_code(0).stdout;
        assert_eq!(keys(&again)?, keys(&exported)?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_not_there() -> Result<()> {
    let server = Server::start_with(LATEST, Options { access: Authorization::Open, ..Options::default() });
    let finished = run(in_domain("chatto-dump", &server, "nowhere", &["-n"])).expect_code(7);
    for words in ["has no JetStream for this account in domain nowhere", "hint: check --js-domain"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    let finished = run(in_domain("chatto-dump", &server, "a.b", &["-n"])).expect_code(2);
    assert!(finished.stderr.contains("\"a.b\" is no name of a domain"), "{}", finished.stderr);
    Ok(())
}
