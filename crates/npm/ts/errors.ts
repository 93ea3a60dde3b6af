/** A failure. Branch on `code`, a stable word; `message` is for people and says what to do. */
export class StarlaneError extends Error {
  /** Always `"StarlaneError"`. */
  override readonly name = "StarlaneError";
  /** A stable word: `no-resource`, `deadline`, `unreachable`, `already-open` … */
  readonly code: string;
  /** A status as in HTTP: 404, 408, 503 … */
  readonly status: number;
  /** The address that the failure is about, if there is one. */
  readonly address: string | undefined;
  /** Whether the target may have got the message: `false` if it certainly did not, `undefined` if that is not known. */
  sent: boolean | undefined = undefined;

  constructor(code: string, status: number, message: string, address?: string, options?: ErrorOptions) {
    if (typeof code !== "string" || typeof status !== "number" || typeof message !== "string" || (address !== undefined && typeof address !== "string")) {
      throw malformed("a StarlaneError takes `code` (a string), `status` (a number), `message` (a string) and perhaps `address` (a string)");
    }
    super(message, causeOf(options));
    this.code = code;
    this.status = status;
    this.address = address;
  }
}

function causeOf(options: ErrorOptions | undefined): ErrorOptions | undefined {
  try {
    return options && "cause" in options ? { cause: options.cause } : undefined;
  } catch {
    throw malformed("the `options` of a StarlaneError must be an object, such as { cause: error }");
  }
}

/** The error for an argument or option that cannot be used. */
export function malformed(message: string, cause?: unknown): StarlaneError {
  return new StarlaneError("malformed", 400, message, undefined, cause === undefined ? undefined : { cause });
}

/** Converts a failure that the Wasm side threw to a {@link StarlaneError}. Returns anything else unchanged. */
export function fromRaw(thrown: unknown): unknown {
  if (thrown === null || typeof thrown !== "object" || thrown instanceof Error) return thrown;
  const { code, status, message, address, sent } = thrown as Partial<StarlaneError>;
  if (typeof code !== "string" || typeof status !== "number") return thrown;
  const error = new StarlaneError(code, status, String(message ?? code), address);
  if (typeof sent === "boolean") error.sent = sent;
  return error;
}

/** Calls the Wasm side and converts a failure that it throws to a {@link StarlaneError}. */
export function translated<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw fromRaw(thrown);
  }
}
