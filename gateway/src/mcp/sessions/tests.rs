//! Sessions by themselves.

use super::*;

fn sessions(max: usize, idle: Duration) -> Sessions {
    Sessions::new("mesh-gateway-1", idle, max)
}

fn open(sessions: &Sessions) -> Arc<Session> {
    let session = Session::new(sessions.new_id(), Version::V2025_11_25);
    let session = Arc::new(session);
    sessions.insert(&session).unwrap();
    session
}

#[test]
fn an_id_names_its_gateway() {
    let id = sessions(1, Duration::ZERO).new_id();
    assert_eq!(gateway_of(&id), Some("mesh-gateway-1"));
    assert_eq!(gateway_of("nothing"), None);
}

#[test]
fn the_longest_idle_session_makes_room() {
    let sessions = sessions(3, Duration::from_secs(300));
    let busy = open(&sessions);
    let held = busy.busy();
    let idle = open(&sessions);
    idle.used.store(0, Relaxed);
    let used = open(&sessions);
    used.used.store(5, Relaxed);
    let new = open(&sessions);
    let has = |session: &Arc<Session>| sessions.open.lock().contains_key(&session.id);
    assert!(has(&busy) && !has(&idle) && has(&used) && has(&new));
    assert!(idle.ended.is_cancelled());
    let all = [used.busy(), new.busy()];
    let more = Session::new(sessions.new_id(), Version::V2025_11_25);
    assert!(sessions.insert(&Arc::new(more)).is_err(), "all are busy");
    drop((held, all));
    assert_eq!(held_count(&sessions), 3);
}

fn held_count(sessions: &Sessions) -> usize {
    sessions.count()
}

#[test]
fn idle_sessions_and_their_memory_go() {
    let sessions = sessions(100_000, Duration::ZERO);
    for _ in 0..10_000 {
        open(&sessions);
    }
    let kept = open(&sessions);
    let busy = kept.busy();
    assert_eq!(sessions.sweep(), 10_000);
    assert!(sessions.open.lock().capacity() < 1000);
    drop(busy);
    assert_eq!(sessions.sweep(), 1);
}

#[test]
fn a_request_is_cancelled_by_its_id() {
    let sessions = sessions(1, Duration::from_secs(1));
    let session = open(&sessions);
    let request = session.begin("1".into()).unwrap();
    assert!(session.begin("1".into()).is_none(), "an id is used once");
    session.cancel("2");
    assert!(!request.cancelled.is_cancelled());
    session.cancel("1");
    assert!(request.cancelled.is_cancelled());
    drop(request);
    assert!(session.begin("1".into()).is_some());
}

#[test]
fn a_record_makes_the_session_again() {
    let mut session = Session::new("g.1".into(), Version::V2025_06_18);
    session.caller = Some("ann".into());
    session.listing = Some(Listing::Search);
    session.resources.lock().insert("agent://echo".to_owned());
    session.initialize = Some(Bytes::from_static(b"{\"id\":0}"));
    *session.level.lock() = Some("info".to_owned());
    let record = session.record("g");
    let text = serde_json::to_string(&record).unwrap();
    let record: SessionRecord = serde_json::from_str(&text).unwrap();
    let again = Session::restored("g.1".into(), &record).unwrap();
    assert_eq!(again.record("g"), record);
}
