/** Debugging lines go where browsers hide them unless they are asked for. */
export function log(level: string, text: string): void {
  const write = level === "error" ? console.error : level === "warn" ? console.warn : level === "info" ? console.info : console.debug;
  write.call(console, `[starlane] ${text}`);
}
