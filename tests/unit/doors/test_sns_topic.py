"""The addresses that a message can make us call: one host a topic, one path, one spelling."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import ConfigurationInvalid
from broker.doors.sns_topic import Topic

HOST = "sns.eu-central-1.amazonaws.com"
PATH = "/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
TOPIC = Topic.parse("arn:aws:sns:eu-central-1:123456789012:uploads")

HOSTS = {
    "arn:aws:sns:us-east-1:123456789012:uploads": "sns.us-east-1.amazonaws.com",
    "arn:aws:sns:ap-southeast-4:123456789012:Up_loads-2": "sns.ap-southeast-4.amazonaws.com",
    "arn:aws-us-gov:sns:us-gov-west-1:123456789012:uploads": "sns.us-gov-west-1.amazonaws.com",
    "arn:aws-cn:sns:cn-northwest-1:123456789012:uploads": "sns.cn-northwest-1.amazonaws.com.cn",
}


@pytest.mark.parametrize("arn", HOSTS)
def test_a_topic_speaks_from_its_own_region_and_partition(arn: str) -> None:
    topic = Topic.parse(arn)
    assert (topic.arn, topic.host) == (arn, HOSTS[arn])
    for other, host in HOSTS.items():
        assert topic.is_certificate(f"https://{host}{PATH}") == (other == arn)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "uploads",
        "arn:aws:sqs:eu-central-1:123456789012:uploads",
        "arn:aws:sns:eu-central-1:123456789012",
        "arn:aws:sns:eu-central-1:123456789012:uploads:5be8",
        "arn:aws:sns:eu-central-1:123456789012:uploads.fifo",
        "arn:aws:sns:eu-central-1:12345678901:uploads",
        "arn:aws:sns:eu-central-1:123456789012:up loads",
        "arn:aws:sns:eu-central-1:123456789012:uploads\n",
        "arn:aws:sns::123456789012:uploads",
        "arn:aws:sns:*:123456789012:uploads",
        "arn:aws:sns:evil.example:123456789012:uploads",
        "arn:aws:sns:eu-central-1.evil:123456789012:uploads",
        "arn:aws:sns:eu-central-1@evil:123456789012:uploads",
        "arn:aws:sns:EU-CENTRAL-1:123456789012:uploads",
        "arn:aws-iso:sns:us-iso-east-1:123456789012:uploads",
        "arn:evil:sns:eu-central-1:123456789012:uploads",
        " arn:aws:sns:eu-central-1:123456789012:uploads",
    ],
)
def test_what_is_no_topic_is_refused_at_the_start(arn: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="is no topic"):
        Topic.parse(arn)


@pytest.mark.parametrize("path", [PATH, "/SimpleNotificationService-a.pem", "/SimpleNotificationService-A_b-9.pem"])
def test_its_certificates_are_known_by_host_and_name(path: str) -> None:
    assert TOPIC.is_certificate(f"https://{HOST}{path}")


TRICKS = [
    "",
    PATH,
    f"//{HOST}{PATH}",
    f"http://{HOST}{PATH}",
    f"HTTPS://{HOST}{PATH}",
    f"ftp://{HOST}{PATH}",
    f"file://{HOST}{PATH}",
    f" https://{HOST}{PATH}",
    f"https://{HOST}{PATH} ",
    f"https://{HOST}{PATH}\n",
    f"https:/{HOST}{PATH}",
    f"https:{HOST}{PATH}",
    f"https:///{HOST}{PATH}",
    f"https:\\\\{HOST}{PATH}",
    f"https://{HOST}\\{PATH}",
    f"https://{HOST}:443{PATH}",
    f"https://{HOST}:8443{PATH}",
    f"https://{HOST}:{PATH}",
    f"https://user@{HOST}{PATH}",
    f"https://user:password@{HOST}{PATH}",
    f"https://@{HOST}{PATH}",
    f"https://{HOST}@evil.example{PATH}",
    f"https://{HOST}%40evil.example{PATH}",
    f"https://{HOST}#@evil.example{PATH}",
    f"https://{HOST}?@evil.example{PATH}",
    f"https://evil.example/{HOST}{PATH}",
    f"https://evil.example{PATH}",
    f"https://evil.example#{HOST}{PATH}",
    f"https://evil.example?{HOST}{PATH}",
    f"https://{HOST}.{PATH}",
    f"https://{HOST}.evil.example{PATH}",
    f"https://evil.{HOST}{PATH}",
    f"https://evil-{HOST}{PATH}",
    f"https://{HOST.upper()}{PATH}",
    f"https://{HOST}.cn{PATH}",
    f"https://sns.us-east-1.amazonaws.com{PATH}",
    f"https://sns.eu-central-1.amazonaws.com.evil.example{PATH}",
    f"https://sns.eu-central-1.amazonaws.co{PATH}",
    f"https://sns-eu-central-1.amazonaws.com{PATH}",
    f"https://snsxeu-central-1xamazonawsxcom{PATH}",
    f"https://sns.amazonaws.com{PATH}",
    f"https://s3.eu-central-1.amazonaws.com{PATH}",
    f"https://sns.s3.eu-central-1.amazonaws.com{PATH}",
    f"https://ѕns.eu-central-1.amazonaws.com{PATH}",  # a Cyrillic letter
    f"https://sns.eu-central-1.amazonaws\u3002com{PATH}",  # an ideographic full stop
    f"https://sns.eu\u2010central-1.amazonaws.com{PATH}",
    f"https://sns.eu-central-1.amazonaws.com\u2044evil.example{PATH}",
    f"https://sns.eu-central-1.amazonaws.com\uff0fevil.example{PATH}",
    f"https://sns.eu-central-1.amazonaws.com%2fevil.example{PATH}",
    f"https://sns.eu-central-1.amazonaws.com\x00.evil.example{PATH}",
    f"https://127.0.0.1{PATH}",
    f"https://[::1]{PATH}",
    f"https://169.254.169.254{PATH}",
    f"https://2130706433{PATH}",
    f"https://{HOST}/",
    f"https://{HOST}/evil.pem",
    f"https://{HOST}/SimpleNotificationService-.pem",
    f"https://{HOST}/SimpleNotificationService-a.pem.evil",
    f"https://{HOST}/SimpleNotificationService-a/evil.pem",
    f"https://{HOST}/SimpleNotificationService-../evil.pem",
    f"https://{HOST}/SimpleNotificationService-%2e%2e.pem",
    f"https://{HOST}/SimpleNotificationService-a.b.pem",
    f"https://{HOST}/simplenotificationservice-a.pem",
    f"https://{HOST}//SimpleNotificationService-a.pem",
    f"https://{HOST}/x/../SimpleNotificationService-a.pem",
    f"https://{HOST}/evil/SimpleNotificationService-a.pem",
    f"https://{HOST}/?Action=Publish&x=/SimpleNotificationService-a.pem",
    f"https://{HOST}{PATH}?Action=Publish",
    f"https://{HOST}{PATH}#fragment",
    f"https://{HOST}{PATH};x",
    f"https://{HOST}/SimpleNotificationService-é.pem",
    f"https://{HOST}/SimpleNotificationService-" + "a" * 129 + ".pem",
]


@pytest.mark.parametrize("url", TRICKS)
def test_no_other_spelling_host_or_path_is_called(url: str) -> None:
    assert not TOPIC.is_certificate(url)


GOOD = f"https://{HOST}{PATH}"


@given(st.integers(0, len(GOOD)), st.integers(0, 3), st.text(max_size=4))
def test_whatever_is_changed_the_host_stays_or_it_is_refused(at: int, length: int, text: str) -> None:
    url = GOOD[:at] + text + GOOD[at + length :]
    if TOPIC.is_certificate(url):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", HOST, "", "")
        assert parts.path.startswith("/SimpleNotificationService-")
        assert parts.path.endswith(".pem")


@given(st.text(max_size=200))
def test_no_token_steers_where_a_subscription_is_confirmed(token: str) -> None:
    token = token.encode(errors="ignore").decode()
    parts = urlsplit(TOPIC.confirmation(token))
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("https", HOST, "/", "")
    assert parse_qs(parts.query, keep_blank_values=True, strict_parsing=True) == {
        "Action": ["ConfirmSubscription"],
        "TopicArn": [TOPIC.arn],
        "Token": [token],
    }
