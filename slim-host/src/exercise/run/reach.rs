//! Steps over the network: where the container is reached, and waiting until somebody answers there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Asking, Attempt, Ground};
use crate::{
    engine::Protocol,
    exercise::{
        ExerciseError, Target,
        http::{self, HttpError},
        outcome::{Answer, BodyDigest, BodyReader, Observed, Pages, Stability, StepFailure},
        pace::{FIRST_PAUSE, LONGEST_PAUSE, Limit, Pause},
        plan::{HttpRequest, Scheme, Walk},
        walk::Walker,
    },
};

/// Characters of a container's id that are its host name, if it has no other.
const HOST_NAME: usize = 12;

/// Which port of the container a step means.
#[derive(Debug, Clone, Copy)]
struct Door {
    named: Option<u16>,
    scheme: Option<Scheme>,
}

impl Door {
    fn of(request: &HttpRequest) -> Self {
        Self { named: request.port, scheme: Some(request.scheme) }
    }
}

/// Asks once over HTTP.
pub(super) async fn probe(
    request: &HttpRequest,
    ground: &Ground<'_>,
    limit: Limit,
) -> Result<Attempt, ExerciseError> {
    let ask = |at| http::ask(at, request, body(ground, at));
    let answer = match until_it_answers(Door::of(request), ground, limit, ask).await? {
        Ok(answer) => answer,
        Err(why) => return Ok((Observed::Nothing, Err(why))),
    };
    let (status, expected) = (answer.0.status, request.status);
    if !request.expects(status) {
        return Ok((Observed::Answer(answer.0), Err(StepFailure::Status { got: status, expected })));
    }
    if !answer.0.body.contains(&request.contains) {
        let text = request.contains.clone();
        return Ok((Observed::Answer(answer.0), Err(StepFailure::Lacks { text })));
    }
    let answer = match ground.asking {
        Asking::Twice if request.is_safe() => again(answer, request, ground).await,
        Asking::Twice | Asking::Once => answer.0,
    };
    Ok((Observed::Answer(answer), Ok(())))
}

/// Asks once more, and notes whether the answer is the same.
async fn again((answer, at): (Answer, SocketAddr), request: &HttpRequest, ground: &Ground<'_>) -> Answer {
    let second = http::ask(at, request, body(ground, at)).await;
    let same = second.is_ok_and(|second| second.status == answer.status && second.body == answer.body);
    let stability = if same { Stability::Stable } else { Stability::Volatile };
    Answer { stability, ..answer }
}

/// Asks for many pages, once the first is answered at all.
pub(super) async fn walk(
    walk: &Walk,
    ground: &Ground<'_>,
    limit: Limit,
    retries: u32,
) -> Result<Attempt, ExerciseError> {
    let Some(first) = walk.starts.first() else { return Ok((Observed::Pages(Pages::default()), Ok(()))) };
    let ask = |at| http::ask(at, first, body(ground, at));
    let answered = until_it_answers(Door::of(first), ground, limit, ask).await?;
    let address = match answered {
        Ok((_, address)) => address,
        Err(why) => return Ok((Observed::Nothing, Err(why))),
    };
    let own = own(ground, address);
    let walker = Walker { address, own: &own, asking: ground.asking, retries, limit };
    let (pages, result) = walker.walk(walk).await;
    Ok((Observed::Pages(pages), result))
}

/// What two containers of one image call differently in their pages: themselves, by address or by host name.
fn own(ground: &Ground<'_>, address: SocketAddr) -> [String; 2] {
    let host_name = ground.container.get(..HOST_NAME).unwrap_or_default();
    [address.ip().to_string(), host_name.to_owned()]
}

fn body(ground: &Ground<'_>, address: SocketAddr) -> BodyReader {
    BodyDigest::begin().masking(&own(ground, address))
}

/// Connects, once somebody listens.
pub(super) async fn tcp(
    port: Option<u16>,
    ground: &Ground<'_>,
    limit: Limit,
) -> Result<Attempt, ExerciseError> {
    let connected =
        until_it_answers(Door { named: port, scheme: None }, ground, limit, http::connect).await?;
    Ok((Observed::Nothing, connected.map(drop)))
}

/// Tries until the application answers, or the time is over. The answer, and who gave it.
async fn until_it_answers<T>(
    door: Door,
    ground: &Ground<'_>,
    limit: Limit,
    ask: impl AsyncFn(SocketAddr) -> Result<T, HttpError>,
) -> Result<Result<(T, SocketAddr), StepFailure>, ExerciseError> {
    let mut pause = Pause::default();
    let mut last = None;
    loop {
        // Asked each time: a restart may change the address.
        let target = Target::from(&ground.engine.container(ground.container).await?);
        let port = match ground.port(door.named, door.scheme, &target) {
            Ok(port) => port,
            Err(why) => return Ok(Err(why)),
        };
        let Some(address) = address(&target, port) else {
            return Ok(Err(StepFailure::NoAddress { port }));
        };
        // A little less than the deadline around, so that the reason is told.
        let room = limit.left().saturating_sub(FIRST_PAUSE);
        match (tokio::time::timeout(room, ask(address)).await, last.take()) {
            (Ok(Ok(answer)), _) => return Ok(Ok((answer, address))),
            (Ok(Err(error)), _) if error.is_early() && limit.left() > LONGEST_PAUSE => {
                last = Some(error);
            }
            (Ok(Err(error)), _) if !error.is_early() => return Ok(Err(StepFailure::Http(error))),
            (Ok(Err(source)), _) | (Err(_), Some(source)) => {
                let seconds = limit.seconds();
                return Ok(Err(StepFailure::NoAnswer { port, seconds, source }));
            }
            (Err(_), None) => return Ok(Err(StepFailure::Late { seconds: limit.seconds() })),
        }
        pause.wait().await;
    }
}

/// Where the container's port is reached: at its own address, or where this host publishes it.
pub(super) fn address(target: &Target, port: u16) -> Option<SocketAddr> {
    if let Some(ip) = target.ip {
        return Some(SocketAddr::new(ip, port));
    }
    let published = target
        .ports
        .iter()
        .find(|mapped| mapped.protocol == Protocol::Tcp && mapped.container_port == port)?;
    let ip = match published.host_ip {
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Some(ip) if !ip.is_unspecified() => ip,
        Some(_) | None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Some(SocketAddr::new(ip, published.host_port))
}
