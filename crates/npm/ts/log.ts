/** Writes a line to the console. Browsers hide debugging lines by default. */
export function log(level: string, text: string): void {
  const write = level === "error" ? console.error : level === "warn" ? console.warn : level === "info" ? console.info : console.debug;
  write.call(console, `[starlane] ${text}`);
}
