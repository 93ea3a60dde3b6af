/** Sample documents of the page. */
export const SAMPLES = ["ada", "grace", "alan"];

/** The text of a sample, or a first line for anybody else. */
export async function beginning(name: string, signal: AbortSignal): Promise<string> {
  if (!SAMPLES.includes(name)) return `# ${name}\n\n`;
  const response = await fetch(`samples/${name}.md`, { signal });
  if (!response.ok) throw new Error(`the sample ${name}.md could not be loaded: ${response.status} ${response.statusText}`);
  return response.text();
}
