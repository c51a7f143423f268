"""A broker with Kafka's StandardAuthorizer, and users by SCRAM who may do what a test says and nothing else."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from annals.topics.rights import Resource, Right
from processes import ENTRY_POINT, own_environment

PASSWORD = "correct-horse"
PREFIX, APP_ID, PARTITIONS = "acl.", "annals", 2
WITHIN_S = 60
LOGIN = "org.apache.kafka.common.security"
PROPERTIES = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "listener.name.client.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    "listener.name.client.plain.sasl.jaas.config": f'{LOGIN}.plain.PlainLoginModule required user_root="{PASSWORD}";',
    "listener.name.client.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS;User:root",
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
RESOURCES = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}


class Cluster:
    """A broker that believes nobody without proof, and its administrator."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.root = {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "root",
            "sasl.password": PASSWORD,
        }
        self._admin = AdminClient(self.root)
        self._users: set[str] = set()

    def user(self, name: str, granted: Sequence[Right]) -> dict[str, str]:
        """The environment of a user who may do this and nothing else."""
        if name not in self._users:
            self.set_password(name, PASSWORD)
            self._users.add(name)
        self.withdraw(name)
        bindings = {self._binding(name, right, operation) for right in granted for operation in right.operations}
        for future in self._admin.create_acls(list(bindings)).values() if bindings else ():
            future.result(30)
        self._until_known(name, len(bindings))
        return self.environment(ANNALS_SASL_USERNAME=name, ANNALS_SASL_MECHANISM="SCRAM-SHA-512")

    def set_password(self, name: str, password: str) -> None:
        """Have connections that begin from now on log in with this one."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
        upsertion = UserScramCredentialUpsertion(name, credential, password.encode())
        for future in self._admin.alter_user_scram_credentials([upsertion]).values():
            future.result(30)

    @contextlib.contextmanager
    def without(self, name: str, right: Right, operation: str) -> Iterator[None]:
        """Take one operation on one resource from a user for a while, and nothing else."""
        binding = self._binding(name, right, operation)
        taken = AclBindingFilter(
            binding.restype, binding.name, binding.resource_pattern_type, binding.principal, None, binding.operation,
            AclPermissionType.ALLOW,
        )  # fmt: skip
        for future in self._admin.delete_acls([taken]).values():
            future.result(30)
        self._until(taken, 0)
        try:
            yield
        finally:
            for future in self._admin.create_acls([binding]).values():
                future.result(30)
            self._until(taken, 1)

    def _binding(self, name: str, right: Right, operation: str) -> AclBinding:
        return AclBinding(
            RESOURCES[right.resource],
            right.name,
            ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL,
            f"User:{name}",
            "*",
            OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )

    def withdraw(self, name: str) -> None:
        for future in self._admin.delete_acls([_all_of(name)]).values():
            future.result(30)
        self._until_known(name, 0)

    def _until_known(self, name: str, rights: int) -> None:
        """Wait until the broker goes by a user and this many rights."""
        self._until(_all_of(name), rights)
        deadline = time.monotonic() + WITHIN_S
        while True:
            (told,) = self._admin.describe_user_scram_credentials([name]).values()
            try:
                told.result(30)
            except KafkaException:
                assert time.monotonic() < deadline, name
            else:
                return

    def _until(self, which: AclBindingFilter, rights: int) -> None:
        """Wait until the broker goes by so many: the controller has them a moment before, under load a long one."""
        deadline = time.monotonic() + WITHIN_S
        while len(found := self._admin.describe_acls(which).result(30)) != rights:
            assert time.monotonic() < deadline, (which, found)

    def environment(self, **settings: str) -> dict[str, str]:
        return own_environment(
            **{
                "ANNALS_BOOTSTRAP_SERVERS": self.bootstrap,
                "ANNALS_TOPIC_PREFIX": PREFIX,
                "ANNALS_APP_ID": APP_ID,
                "ANNALS_PARTITIONS": str(PARTITIONS),
                "ANNALS_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "ANNALS_SASL_MECHANISM": "PLAIN",
                "ANNALS_SASL_USERNAME": "root",
                "ANNALS_SASL_PASSWORD": PASSWORD,
                **settings,
            }
        )

    def run(self, environment: dict[str, str], *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ENTRY_POINT, *words], env=environment, input=said, capture_output=True, text=True, timeout=600, check=False
        )


def _all_of(name: str) -> AclBindingFilter:
    who = f"User:{name}"
    of_any = ResourceType.ANY, None, ResourcePatternType.ANY
    return AclBindingFilter(*of_any, who, None, AclOperation.ANY, AclPermissionType.ANY)
