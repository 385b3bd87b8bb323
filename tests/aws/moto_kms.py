"""moto's server, with its KMS brought nearer to AWS in the points that envelope encryption meets.

Plain moto 5.2.5

- gives multi-Region keys ids of 40 characters, of which the header of its ciphertexts keeps 36: nothing that was
  encrypted under such a key can be decrypted;
- uses keys that are disabled or wait for deletion;
- refuses a KeyId that is not the ciphertext's as AccessDenied, not IncorrectKeyException;
- fails with status 500 where a key's state is changed, or a key replicated, by its ARN;
- binds ciphertexts to the concatenation of the context's keys and values, so that {"ab": "c"} opens what {"a": "bc"}
  sealed;
- passes over the region and the account in a key's ARN.

Each is mended below. No test here relies on what it still lacks: permissions, grants and throttling above all, and the
names of errors for ciphertexts that are none.
"""

import os
import sys
import threading
import uuid

from moto.core.exceptions import JsonRESTError
from moto.kms import models, responses, utils
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def refuse(code, message):
    refusal = JsonRESTError(code, message)
    refusal.code = 400
    raise refusal


def key_id(multi_region=False):
    return "mrk-" + uuid.uuid4().hex if multi_region else str(uuid.uuid4())


def bare_id(backend, any_id):
    return backend.any_id_to_key_id(any_id)


def usable_id(backend, any_id):
    key = backend.keys[bare_id(backend, any_id)]
    if key.key_state == "Disabled":
        refuse("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        refuse("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    return key.id


def wrapped(name, before):
    """Makes the backend's method of that name take before(backend, key_id) for its key id."""
    plain = getattr(models.KmsBackend, name)

    def call(self, key_id, *args, **kwargs):
        return plain(self, before(self, key_id), *args, **kwargs)

    setattr(models.KmsBackend, name, call)


plain_decrypt = models.KmsBackend.decrypt


def decrypt(self, ciphertext_blob, encryption_context, key_id=None):
    used = ciphertext_blob[: utils.KEY_ID_LEN].decode("ascii", "replace")
    if used in self.keys:
        if key_id is not None and bare_id(self, key_id) != used:
            refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
        usable_id(self, used)
    return plain_decrypt(self, ciphertext_blob, encryption_context, key_id)


plain_validate = responses.KmsResponse._validate_cmk_id


def validate(self, key_id):
    backend = self.kms_backend
    if key_id.startswith("arn:") and key_id.split(":")[3:5] != [backend.region_name, backend.account_id]:
        refuse("NotFoundException", f"Invalid arn {key_id}")
    if not (key_id.startswith("mrk-") and key_id in backend.keys):
        plain_validate(self, key_id)


def serialize(encryption_context):
    parts = [part.encode() for pair in sorted(encryption_context.items()) for part in pair]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


models.generate_key_id = key_id
models.KmsBackend.decrypt = decrypt
responses.KmsResponse._validate_cmk_id = validate
utils._serialize_encryption_context = serialize
for name in ("encrypt", "generate_data_key"):
    wrapped(name, usable_id)
for name in ("disable_key", "enable_key", "schedule_key_deletion", "cancel_key_deletion", "replicate_key"):
    wrapped(name, bare_id)


def end_with_stdin():
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    print(f"ready {server.server_port}", flush=True)
    server.serve_forever()
