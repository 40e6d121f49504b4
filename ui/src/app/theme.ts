import { createTheme, type CSSVariablesResolver } from "@mantine/core";

const SANS = 'Inter, system-ui, -apple-system, "Segoe UI", sans-serif';
const MONO = '"JetBrains Mono", ui-monospace, "SF Mono", Menlo, Consolas, monospace';

export const theme = createTheme({
  fontFamily: SANS,
  fontFamilyMonospace: MONO,
  fontSizes: { xs: "11.5px", sm: "13px", md: "13.5px", lg: "15px", xl: "18px" },
  headings: { fontFamily: SANS, fontWeight: "600" },
  defaultRadius: "sm",
  radius: { xs: "3px", sm: "5px", md: "7px", lg: "10px", xl: "14px" },
  colors: {
    grid: ["#e8f5f2", "#d0eae4", "#a2d5c9", "#70bfac", "#48ab94", "#2f9c85", "#0f8f79", "#0b7f6b", "#0b7362", "#064d41"],
  },
  primaryColor: "grid",
  primaryShade: { light: 7, dark: 7 },
  cursorType: "pointer",
  components: {
    Button: { defaultProps: { size: "xs" } },
    ActionIcon: { defaultProps: { variant: "subtle", color: "gray" } },
    TextInput: { defaultProps: { size: "xs" } },
    Textarea: { defaultProps: { size: "xs" } },
    Select: { defaultProps: { size: "xs", comboboxProps: { shadow: "md" } } },
    Switch: { defaultProps: { size: "xs" } },
    Tooltip: { defaultProps: { openDelay: 250, withArrow: true, multiline: true, maw: 420 } },
    Menu: { defaultProps: { shadow: "md" } },
  },
});

/** Mantine's surfaces and soft text, in our colours: its own dimmed grey is too pale to read on white. */
export const cssVariables: CSSVariablesResolver = () => {
  const shared = {
    "--mantine-color-body": "var(--surface)",
    "--mantine-color-text": "var(--ink)",
    "--mantine-color-dimmed": "var(--ink-soft)",
    "--mantine-color-placeholder": "var(--ink-soft)",
    "--mantine-color-default-border": "var(--line-strong)",
    "--mantine-color-default-hover": "var(--hover)",
    "--mantine-color-error": "var(--state-failed)",
  };
  return { variables: {}, light: shared, dark: shared };
};
