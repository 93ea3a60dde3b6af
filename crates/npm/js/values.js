// Objects for Rust, each made by one call instead of one call per property.

export function payload(contentType, headers, body, stream) {
  return { contentType, headers, body, stream };
}

export function failure(status, code, message, address, sent, answer) {
  return { status, code, message, address, sent, answer };
}

export function event(from, payload) {
  return { from, payload };
}

export function lagged(count) {
  return { lagged: count };
}

export function gap() {
  return { gap: true };
}

export function incoming(operation, payload, from, caller, signal) {
  return { operation, payload, from, caller, signal };
}

export function launched(app, revision, bundle) {
  return { app, revision, bundle };
}
