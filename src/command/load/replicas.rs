//! The end of a load into a cluster: waits until the other servers have the restored streams. Restores nothing.
//!
//! A cluster gives a snapshot to one server, and that server answers the commit alone. The others fetch the stream from it
//! afterwards. If the first server is lost before that, the stream is lost too. If the first server is no longer the leader
//! by then, it removes the stream again, after its answer (nats-server, `server/jetstream_cluster.go`, `monitorStream`,
//! `restoreDoneCh`). So the program looks at every restored stream once more, when the others must have begun to fetch it,
//! and waits until they have all of it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until};

use super::compare_state::{difference, parse};
use super::context::Context;
use super::outcomes::UnconfirmedStream;
use crate::exit::Exit;
use crate::jetstream::{Error, Replicas, StreamReply};
use crate::names::{StreamName, counted};
use crate::snapshot::Contents;

/// When the other servers have surely begun to fetch what was restored. They hear of it with the leader's
/// next heartbeat, of which there is one every second, and ask the leader for it; where that does not
/// listen yet, they ask again after 5 s (`streamCatchupStartInterval`). Until it is asked, the leader
/// takes them to be current, and says so.
const BEGUN: Duration = Duration::from_secs(8);

/// How many streams are looked at at once.
const AT_ONCE: usize = 16;

/// How long the rest of the copies may take to come nearer once there are enough of them, and a stream to
/// come back that is gone.
const REST: Duration = Duration::from_secs(10);

/// The pause before all that are not settled are looked at again.
const BREATH: Duration = Duration::from_millis(250);

/// The state of a stream's replicas.
enum ReplicaStatus {
    /// On every server that ought to have it.
    Settled,
    /// On some of them only.
    Copying(Replicas),
    /// Nowhere.
    Gone,
    /// Not as it was restored, for this reason.
    Amiss(String),
}

/// Waits until the copies of all restored streams are current, as long as they come nearer to that.
/// Those of which it is not enough are failed; they stay as they are, as their copies may still come.
/// In the place of one that is gone, the old one is put back.
pub(super) async fn wait(context: &Context) {
    let mut unconfirmed = context.unconfirmed.take();
    if !unconfirmed.is_empty() {
        context.messages.detail("waiting until the cluster has copied what was restored");
    }
    let (mut least, mut since) = (u64::MAX, Instant::now());
    while !unconfirmed.is_empty() {
        let looked: Vec<(UnconfirmedStream, ReplicaStatus)> = stream::iter(unconfirmed)
            .map(|unconfirmed| async {
                sleep_until(unconfirmed.restored + BEGUN).await;
                let standing = standing(context, &unconfirmed).await;
                (unconfirmed, standing)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut left = Vec::new();
        for (unconfirmed, standing) in looked {
            match standing {
                ReplicaStatus::Settled => {}
                ReplicaStatus::Copying(replicas) if replicas.suffice() && replicas.rest_is_offline() => {
                    say_lacking(context, &unconfirmed.stream, &replicas);
                }
                standing => left.push((unconfirmed, standing)),
            }
        }
        let missing = left.iter().map(|(_, standing)| standing.missing()).fold(0, u64::saturating_add);
        if missing < least {
            (least, since) = (missing, Instant::now());
        }
        let patience = match left.iter().all(|(_, standing)| standing.will_stay_so()) {
            true => REST.min(context.server.patience()),
            false => context.server.patience(),
        };
        if since.elapsed() >= patience {
            return give_up_on(context, left).await;
        }
        unconfirmed = left.into_iter().map(|(unconfirmed, _)| unconfirmed).collect();
        if !unconfirmed.is_empty() {
            sleep(BREATH).await;
        }
    }
}

async fn standing(context: &Context, unconfirmed: &UnconfirmedStream) -> ReplicaStatus {
    let answer = context.server.glance(&unconfirmed.stream).await;
    match context.outcomes.borrow().restored().get(&unconfirmed.stream) {
        Some(proven) => judged(answer, &proven.contents, unconfirmed.may_expire),
        None => ReplicaStatus::Settled,
    }
}

async fn give_up_on(context: &Context, left: Vec<(UnconfirmedStream, ReplicaStatus)>) {
    const LEFT: &str = "what is there of it was left: look at it when every server of the cluster runs, and \
                            replace it with --conflict overwrite";
    const GONE: &str = "the server that restored it has lost the lead meanwhile, and removed it: restore it \
                            again; --stream leaves the others alone";
    for (UnconfirmedStream { stream, .. }, standing) in left {
        let gone = matches!(standing, ReplicaStatus::Gone);
        let (text, hint) = match standing {
            ReplicaStatus::Settled => continue,
            ReplicaStatus::Copying(replicas) if replicas.suffice() => {
                say_lacking(context, &stream, &replicas);
                continue;
            }
            ReplicaStatus::Copying(replicas) => {
                let what = format!("only {} of its {} are current", replicas.current(), of(&replicas));
                (format!("restored, and {what}"), LEFT)
            }
            ReplicaStatus::Gone => ("it is gone after its restore".into(), GONE),
            ReplicaStatus::Amiss(text) => (text, LEFT),
        };
        context.outcomes.borrow_mut().undone(&stream);
        context.fail(&stream, Exit::Partial, &text);
        context.hint(Some(hint.into()));
        if gone {
            context.replacing.vanished(&stream);
            context.put_back(&stream).await;
        }
    }
}

fn say_lacking(context: &Context, stream: &StreamName, replicas: &Replicas) {
    let current = replicas.current();
    context.messages.warning(&format!("stream {stream}: {current} of its {} are current", of(replicas)));
}

fn of(replicas: &Replicas) -> String {
    counted(replicas.all(), "replica")
}

fn judged(
    answer: Result<Option<StreamReply>, Error>,
    contents: &Contents,
    may_expire: bool,
) -> ReplicaStatus {
    let reply = match answer {
        Ok(Some(reply)) => reply,
        Ok(None) => return ReplicaStatus::Gone,
        Err(e) => return ReplicaStatus::Amiss(format!("it cannot be looked at after its restore: {e}")),
    };
    let replicas = reply.replicas;
    if !replicas.have_leader() {
        return ReplicaStatus::Amiss("it has no leader after its restore".into());
    }
    match parse(&reply.state).map(|state| difference(&state, contents, may_expire)) {
        Ok(Some(text)) | Err(text) => ReplicaStatus::Amiss(text),
        Ok(None) if replicas.current() < replicas.all() => ReplicaStatus::Copying(replicas),
        Ok(None) => ReplicaStatus::Settled,
    }
}

impl ReplicaStatus {
    /// Whether there is no more to wait for than what is not needed or hardly ever comes.
    fn will_stay_so(&self) -> bool {
        match self {
            ReplicaStatus::Settled | ReplicaStatus::Gone => true,
            ReplicaStatus::Copying(replicas) => replicas.suffice(),
            ReplicaStatus::Amiss(_) => false,
        }
    }

    /// How far it is from being settled: less is nearer.
    fn missing(&self) -> u64 {
        const A_COPY: u64 = 1 << 40;
        match self {
            ReplicaStatus::Settled => 0,
            ReplicaStatus::Copying(replicas) => {
                let copies = replicas.all().saturating_sub(replicas.current());
                copies.saturating_mul(A_COPY).saturating_add(replicas.lag().min(A_COPY))
            }
            ReplicaStatus::Gone | ReplicaStatus::Amiss(_) => A_COPY.saturating_mul(8),
        }
    }
}
