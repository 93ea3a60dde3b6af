// What the page and its workers say alike.

export function wrongType(name: string): string {
  return `the export \`${name}\` has another type than the interface gives it`;
}
