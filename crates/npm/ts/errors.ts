/** Why something did not succeed. `code` is a stable word to branch on, `message` says what to do. */
export class StarlaneError extends Error {
  /** Always `"StarlaneError"`. */
  override readonly name = "StarlaneError";
  /** A stable word: `no-resource`, `deadline`, `unreachable`, `already-open` … */
  readonly code: string;
  /** As in HTTP: 404, 408, 503 … */
  readonly status: number;
  /** The address that it is about, if it is about one. */
  readonly address: string | undefined;

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

/** A parameter or option that can't be used. */
export function malformed(message: string, cause?: unknown): StarlaneError {
  return new StarlaneError("malformed", 400, message, undefined, cause === undefined ? undefined : { cause });
}

/** What the Wasm side threw, as an error; errors of any other kind stay what they are. */
export function fromRaw(thrown: unknown): unknown {
  if (thrown === null || typeof thrown !== "object" || thrown instanceof Error) return thrown;
  const { code, status, message, address } = thrown as Partial<StarlaneError>;
  if (typeof code !== "string" || typeof status !== "number") return thrown;
  return new StarlaneError(code, status, String(message ?? code), address);
}

/** Runs a call into the Wasm side; what it throws becomes an error. */
export function translated<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw fromRaw(thrown);
  }
}
