//! Against a small HTTP server that answers as Open-Meteo's documentation says.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Mutex,
    task::JoinSet,
};

use super::*;

const PLACES: &str = r#"{"results":[
    {"id":2988507,"name":"Paris","latitude":48.85341,"longitude":2.3488,"elevation":42.0,
     "feature_code":"PPLC","country_code":"FR","timezone":"Europe/Paris","population":2138551,
     "country_id":3017382,"country":"France","admin1":"Île-de-France","admin2":"Paris"},
    {"id":4717560,"name":"Paris","latitude":33.66094,"longitude":-95.55551,"elevation":183.0,
     "feature_code":"PPLA2","country_code":"US","timezone":"America/Chicago","population":24782,
     "country_id":6252001,"country":"United States","admin1":"Texas","admin2":"Lamar"}],
    "generationtime_ms":0.9}"#;
const CURRENT: &str = r#"{"latitude":48.86,"longitude":2.3599997,"generationtime_ms":0.05,
    "utc_offset_seconds":3600,"timezone":"Europe/Paris","timezone_abbreviation":"GMT+1",
    "elevation":43.0,"current_units":{"time":"iso8601","temperature_2m":"°C"},
    "current":{"time":"2026-11-21T14:15","interval":900,"temperature_2m":8.4,
    "relative_humidity_2m":81,"weather_code":61}}"#;
const DAILY: &str = r#"{"latitude":48.86,"longitude":2.36,"utc_offset_seconds":3600,
    "timezone":"Europe/Paris","daily":{"time":["2026-11-21","2026-11-22"],
    "weather_code":[3,95],"temperature_2m_max":[9.1,11.0],"temperature_2m_min":[4.2,6.5],
    "relative_humidity_2m_mean":[80,88],"precipitation_probability_max":[12,97]}}"#;

/// Serves one canned answer a path, and keeps the request lines.
struct FakeApi {
    keys: WeatherKeys,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

/// `answers`: what the path contains, the status line's code, the body.
async fn api<const N: usize>(answers: [(&'static str, u16, &'static str); N]) -> FakeApi {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (mut server, log) = (JoinSet::new(), asked.clone());
    server.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                head.extend_from_slice(&buffer[..read]);
                if read == 0 {
                    break;
                }
            }
            let line = String::from_utf8_lossy(&head)
                .lines()
                .next()
                .unwrap_or("")
                .to_owned();
            let found = answers.iter().find(|(path, ..)| line.contains(path));
            log.lock().await.push(line);
            let Some((_, status, body)) = found else {
                continue;
            };
            let length = body.len();
            let reply = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(reply.as_bytes()).await.ok();
        }
    });
    let keys = WeatherKeys {
        geocoding_url: base.clone(),
        forecast_url: base,
        provider_timeout: Duration::from_secs(2),
        ..WeatherKeys::default()
    };
    FakeApi {
        keys,
        asked,
        _server: server,
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-21T13:20:00Z".parse().unwrap()
}

#[tokio::test]
async fn current_weather_is_asked_for_and_read_as_documented() {
    let api = api([("/v1/search", 200, PLACES), ("/v1/forecast", 200, CURRENT)]).await;
    let provider = OpenMeteo::new(&api.keys, true).unwrap();
    let current = provider.current("Paris, France", now()).await.unwrap();
    assert_eq!(current.place, "Paris, France");
    assert_eq!((current.temperature, current.humidity), (8.4, 81));
    assert_eq!(current.condition, "light rain");
    assert_eq!(current.time.to_rfc3339(), "2026-11-21T14:15:00+01:00");
    let asked = api.asked.lock().await;
    assert!(
        asked[0].starts_with("GET /v1/search?name=Paris&count=20&language=en"),
        "{asked:?}"
    );
    assert!(
        asked[1].contains("latitude=48.85341&longitude=2.3488"),
        "{asked:?}"
    );
    assert!(asked[1].contains("current=temperature_2m%2Crelative_humidity_2m%2Cweather_code"));
}

#[tokio::test]
async fn a_forecast_is_asked_for_by_its_dates() {
    let api = api([("/v1/search", 200, PLACES), ("/v1/forecast", 200, DAILY)]).await;
    let provider = OpenMeteo::new(&api.keys, true).unwrap();
    let start = "2026-11-21".parse().ok();
    let forecast = provider
        .forecast("Paris, Texas", start, 2, now())
        .await
        .unwrap();
    assert_eq!(forecast.place, "Paris, United States");
    assert_eq!(forecast.days.len(), 2);
    assert_eq!(forecast.days[1].condition, "thunderstorm");
    assert_eq!(forecast.days[1].precipitation_probability, 97);
    let asked = api.asked.lock().await;
    assert!(
        asked[1].contains("start_date=2026-11-21&end_date=2026-11-22"),
        "{asked:?}"
    );
    assert!(
        asked[1].contains("latitude=33.66094&longitude=-95.55551"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_unknown_place_is_told_apart_from_one_elsewhere() {
    let empty = api([("/v1/search", 200, r#"{"generationtime_ms":0.4}"#)]).await;
    let provider = OpenMeteo::new(&empty.keys, true).unwrap();
    let error = provider
        .current("Xyzzy", now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unknown location \"Xyzzy\": give a city"),
        "{error}"
    );

    let elsewhere = api([("/v1/search", 200, PLACES)]).await;
    let provider = OpenMeteo::new(&elsewhere.keys, true).unwrap();
    let error = provider
        .current("Paris, Italy", now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("did you mean Paris, France or Paris, United States?"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_carries_the_reason_and_the_host() {
    let refusal = r#"{"error":true,"reason":"Parameter 'start_date' is out of allowed range"}"#;
    let api = api([("/v1/search", 200, PLACES), ("/v1/forecast", 400, refusal)]).await;
    let provider = OpenMeteo::new(&api.keys, true).unwrap();
    let error = provider
        .forecast("Paris", None, 2, now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("127.0.0.1: HTTP 400"), "{error}");
    assert!(error.contains("out of allowed range"), "{error}");
}

#[tokio::test]
async fn days_without_numbers_are_an_error_not_an_invention() {
    let nulls = r#"{"daily":{"time":["2027-01-01"],"weather_code":[null],
        "temperature_2m_max":[null],"temperature_2m_min":[null],
        "relative_humidity_2m_mean":[null],"precipitation_probability_max":[null]}}"#;
    let api = api([("/v1/search", 200, PLACES), ("/v1/forecast", 200, nulls)]).await;
    let provider = OpenMeteo::new(&api.keys, true).unwrap();
    let error = provider
        .forecast("Paris", None, 1, now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("at most 16 days from today"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_a_silent_server_and_no_server_are_clear_errors() {
    let endless: &'static str = Box::leak(" ".repeat(MAX_BYTES + 1).into_boxed_str());
    let big = api([("/v1/search", 200, endless)]).await;
    let error = OpenMeteo::new(&big.keys, true)
        .unwrap()
        .current("Paris", now())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("larger than 262144 bytes"),
        "{error}"
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let keys = WeatherKeys {
        geocoding_url: base,
        provider_timeout: Duration::from_millis(100),
        ..WeatherKeys::default()
    };
    let provider = OpenMeteo::new(&keys, true).unwrap();
    let error = provider
        .current("Paris", now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("no answer within 0.1 s"), "{error}");
    drop(silent);
    let error = provider
        .current("Paris", now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn a_base_url_that_is_none_is_refused_with_an_example() {
    let keys = WeatherKeys {
        forecast_url: "ftp://weather".into(),
        ..WeatherKeys::default()
    };
    let error = OpenMeteo::new(&keys, true).unwrap_err().to_string();
    assert!(error.contains("https://api.open-meteo.com"), "{error}");
}
