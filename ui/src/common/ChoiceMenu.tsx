/** A button with a menu in which any number of things can be ticked. */
import { Button, Menu, ScrollArea } from "@mantine/core";
import { Check } from "lucide-react";
import type { ReactNode } from "react";

export interface ChoiceGroup {
  title?: string;
  choices: { value: string; label: string }[];
}

interface ChoiceMenuProps {
  children: ReactNode;
  label?: string;
  icon?: ReactNode;
  groups: ChoiceGroup[];
  chosen: string[];
  change: (chosen: string[]) => void;
  position?: "bottom-start" | "bottom-end";
}

export function ChoiceMenu({ children, label, icon, groups, chosen, change, position = "bottom-start" }: ChoiceMenuProps) {
  const toggle = (value: string) => change(chosen.includes(value) ? chosen.filter((each) => each !== value) : [...chosen, value]);
  return (
    <Menu position={position} width={240}>
      <Menu.Target>
        <Button variant="default" leftSection={icon} aria-label={label}>
          {children}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <ScrollArea.Autosize mah={360} type="auto">
          {groups
            .filter((group) => group.choices.length > 0)
            .map((group, index) => (
              <div key={group.title ?? index}>
                {group.title && <Menu.Label>{group.title}</Menu.Label>}
                {group.choices.map((choice) => (
                  <Menu.Item
                    key={choice.value}
                    closeMenuOnClick={false}
                    leftSection={<Check size={14} visibility={chosen.includes(choice.value) ? "visible" : "hidden"} />}
                    onClick={() => toggle(choice.value)}
                    role="menuitemcheckbox"
                    aria-checked={chosen.includes(choice.value)}
                  >
                    {choice.label}
                  </Menu.Item>
                ))}
              </div>
            ))}
        </ScrollArea.Autosize>
      </Menu.Dropdown>
    </Menu>
  );
}
