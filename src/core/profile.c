/*
 * profile.c
 *		AWS shared config and credentials files.
 *
 * A file is read line by line.  The parser knows the section it is in (NULL for
 * one that is passed over), the setting that a deeper line would continue, and
 * how deep that setting is indented.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/bytes.h"
#include "core/profile.h"

typedef struct Parser
{
	StediProfiles *profiles;
	bool		is_credentials;
	size_t		first;			/* setting of this file */
	bool		in_section;
	char	   *section;		/* profile's name; NULL: passed over */
	bool		is_plain_default;	/* the section is "[default]" of a config file */
	bool		has_profile_default;	/* the file has a "[profile default]" */
	bool		is_open;		/* a setting stands above, which may be continued */
	bool		is_nested;		/* it has no value of its own */
	size_t		indent;			/* of it */
	int			line_no;
	StediStatus *status;
} Parser;

/* Profiles of "[default]" sections are kept apart until the file's end. */
#define PLAIN_DEFAULT	"\ndefault"

static bool parse_line(Parser *parser, const char *line, const char *end);
static bool parse_section(Parser *parser, const char *line, const char *end);
static bool parse_setting(Parser *parser, const char *line, const char *end);
static bool continue_setting(Parser *parser, const char *line, const char *end);
static void settle_default(Parser *parser);
static bool add_setting(Parser *parser, char *name, char *value);
static void free_setting(StediProfileSetting *setting);
static void free_text(char *text);
static char *copy_range(const char *start, const char *end);
static const char *before_comment(const char *start, const char *end);
static bool malformed(Parser *parser, const char *what);
static bool no_memory(StediStatus *status);
static bool is_blank(char c);
static const char *trim_end(const char *start, const char *end);
static const char *next_word(const char *p, StediBytes *word, bool *found, bool *whole);

bool
stedi_profiles_parse(StediProfiles *profiles, const char *text, size_t length,
					 bool is_credentials, StediStatus *status)
{
	Parser		parser = {
		.profiles = profiles, .is_credentials = is_credentials, .status = status,
		.first = profiles->n_settings
	};
	const char *end = text + length;
	bool		done = true;

	if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		text += 3;
	if (memchr(text, '\0', (size_t) (end - text)) != NULL)
		return stedi_status_set(status, STEDI_BAD_ARGUMENT, "it has a zero byte");
	while (done && text < end)
	{
		const char *newline = memchr(text, '\n', (size_t) (end - text));
		const char *line_end = newline != NULL ? newline : end;

		parser.line_no++;
		done = parse_line(&parser, text, line_end);
		text = newline != NULL ? newline + 1 : end;
	}
	free(parser.section);
	settle_default(&parser);
	return done;
}

static bool
parse_line(Parser *parser, const char *line, const char *end)
{
	const char *start = line;

	end = trim_end(line, end);
	while (start < end && is_blank(*start))
		start++;
	/* a blank line or a comment does not end a value */
	if (start == end || *start == '#' || *start == ';')
		return true;
	if (parser->is_open && (size_t) (start - line) > parser->indent)
		return continue_setting(parser, start, end);
	parser->is_open = false;
	if (*start == '[')
		return parse_section(parser, start, end);
	parser->indent = (size_t) (start - line);
	return parse_setting(parser, start, end);
}

static bool
parse_section(Parser *parser, const char *line, const char *end)
{
	const char *close = memchr(line, ']', (size_t) (end - line));
	char	   *name;
	char	  **words = NULL;
	bool		done = true;

	if (close == NULL)
		return malformed(parser, "a section line without \"]\"");
	line++;
	while (line < close && is_blank(*line))
		line++;
	name = copy_range(line, trim_end(line, close));
	if (name == NULL)
		return no_memory(parser->status);

	parser->in_section = true;
	parser->is_plain_default = false;
	free(parser->section);
	parser->section = NULL;
	if (parser->is_credentials)
	{
		parser->section = name;
		name = NULL;
	}
	else if (strcmp(name, "default") == 0)
	{
		parser->section = strdup(PLAIN_DEFAULT);
		done = parser->section != NULL || no_memory(parser->status);
	}
	else if (strncmp(name, "profile", 7) == 0)
	{
		StediStatus ignored;

		words = stedi_split_words(name, &ignored);
		if (words == NULL && ignored.code == STEDI_NO_MEMORY)
			done = no_memory(parser->status);
		else if (words != NULL && strcmp(words[0], "profile") == 0 && words[1] != NULL &&
				 words[2] == NULL)
		{
			parser->section = words[1];
			words[1] = NULL;
			if (strcmp(parser->section, "default") == 0)
				parser->has_profile_default = true;
		}
	}
	free(name);
	stedi_words_free(words);
	/* that the section is there counts, even if it is empty */
	return done && (parser->section == NULL || add_setting(parser, NULL, NULL));
}

static bool
parse_setting(Parser *parser, const char *line, const char *end)
{
	const char *delimiter = line;
	const char *value;
	const char *value_end;
	char	   *name;

	if (!parser->in_section)
		return malformed(parser, "a setting before the first section");
	while (delimiter < end && *delimiter != '=' && *delimiter != ':')
		delimiter++;
	if (delimiter == end || delimiter == line)
		return malformed(parser, "neither a section nor a setting");
	value = delimiter + 1;
	while (value < end && is_blank(*value))
		value++;
	value_end = before_comment(value, end);

	parser->is_open = true;
	parser->is_nested = value == value_end;
	if (parser->section == NULL)
		return true;
	name = copy_range(line, trim_end(line, delimiter));
	if (name == NULL)
		return no_memory(parser->status);
	for (char *p = name; *p; p++)
	{
		if (*p >= 'A' && *p <= 'Z')
			*p = (char) (*p - 'A' + 'a');
	}
	return add_setting(parser, name, copy_range(value, value_end));
}

static bool
continue_setting(Parser *parser, const char *line, const char *end)
{
	StediProfileSetting *setting;
	StediBytes	longer;

	if (parser->is_nested || parser->section == NULL)
		return true;
	setting = &parser->profiles->settings[parser->profiles->n_settings - 1];
	stedi_bytes_init(&longer, 0);
	stedi_bytes_append_text(&longer, setting->value);
	stedi_bytes_append_char(&longer, '\n');
	stedi_bytes_append(&longer, line, (size_t) (before_comment(line, end) - line));
	if (longer.failed)
	{
		stedi_bytes_free(&longer);
		return no_memory(parser->status);
	}
	free_text(setting->value);
	setting->value = stedi_bytes_steal(&longer);
	return true;
}

/* "[default]" counts unless there is a "[profile default]" in the same file. */
static void
settle_default(Parser *parser)
{
	StediProfiles *profiles = parser->profiles;
	size_t		kept = parser->first;

	for (size_t i = parser->first; i < profiles->n_settings; i++)
	{
		StediProfileSetting *setting = &profiles->settings[i];

		if (strcmp(setting->profile, PLAIN_DEFAULT) == 0)
		{
			if (parser->has_profile_default)
			{
				free_setting(setting);
				continue;
			}
			memmove(setting->profile, setting->profile + 1, strlen(setting->profile));
		}
		profiles->settings[kept++] = *setting;
	}
	profiles->n_settings = kept;
}

/* Takes name and value over, also on failure; a value that is NULL though there
 * is a name could not be made. */
static bool
add_setting(Parser *parser, char *name, char *value)
{
	StediProfiles *profiles = parser->profiles;
	StediProfileSetting setting = {
		.profile = strdup(parser->section), .name = name, .value = value,
		.is_from_credentials = parser->is_credentials
	};

	if (profiles->n_settings == profiles->capacity)
	{
		size_t		capacity = profiles->capacity > 0 ? profiles->capacity * 2 : 32;
		StediProfileSetting *grown = realloc(profiles->settings, capacity * sizeof(*grown));

		if (grown == NULL)
		{
			free_setting(&setting);
			return no_memory(parser->status);
		}
		profiles->settings = grown;
		profiles->capacity = capacity;
	}
	if (setting.profile == NULL || (name != NULL && value == NULL))
	{
		free_setting(&setting);
		return no_memory(parser->status);
	}
	profiles->settings[profiles->n_settings++] = setting;
	return true;
}

bool
stedi_profiles_have(const StediProfiles *profiles, const char *profile)
{
	for (size_t i = 0; i < profiles->n_settings; i++)
	{
		if (strcmp(profiles->settings[i].profile, profile) == 0)
			return true;
	}
	return false;
}

const StediProfileSetting *
stedi_profiles_find(const StediProfiles *profiles, const char *profile, const char *name)
{
	for (size_t i = profiles->n_settings; i > 0; i--)
	{
		const StediProfileSetting *setting = &profiles->settings[i - 1];

		if (setting->name != NULL && strcmp(setting->name, name) == 0 &&
			strcmp(setting->profile, profile) == 0)
			return setting->value[0] != '\0' ? setting : NULL;
	}
	return NULL;
}

void
stedi_profiles_free(StediProfiles *profiles)
{
	for (size_t i = 0; i < profiles->n_settings; i++)
		free_setting(&profiles->settings[i]);
	free(profiles->settings);
	memset(profiles, 0, sizeof(*profiles));
}

static void
free_setting(StediProfileSetting *setting)
{
	free(setting->profile);
	free(setting->name);
	free_text(setting->value);
}

static void
free_text(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

static char *
copy_range(const char *start, const char *end)
{
	return strndup(start, (size_t) (end - start));
}

/* The end of what stands before a '#' or ';' after white space, trimmed. */
static const char *
before_comment(const char *start, const char *end)
{
	for (const char *p = start; p < end; p++)
	{
		if ((*p == '#' || *p == ';') && (p == start || is_blank(p[-1])))
			return trim_end(start, p);
	}
	return trim_end(start, end);
}

static bool
malformed(Parser *parser, const char *what)
{
	return stedi_status_set(parser->status, STEDI_BAD_ARGUMENT, "line %d is %s",
							parser->line_no, what);
}

static bool
no_memory(StediStatus *status)
{
	return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static const char *
trim_end(const char *start, const char *end)
{
	while (end > start && is_blank(end[-1]))
		end--;
	return end;
}

/*
 * Words
 */

char **
stedi_split_words(const char *text, StediStatus *status)
{
	char	  **words = NULL;
	size_t		n_words = 0;
	bool		found = true;
	bool		whole = true;

	for (;;)
	{
		StediBytes	word;
		char	  **longer;

		stedi_bytes_init(&word, 0);
		text = next_word(text, &word, &found, &whole);
		if (!found || !whole)
		{
			stedi_bytes_free(&word);
			break;
		}
		longer = realloc(words, (n_words + 2) * sizeof(*words));
		if (longer == NULL)
		{
			stedi_bytes_free(&word);
			stedi_words_free(words);
			no_memory(status);
			return NULL;
		}
		words = longer;
		words[n_words] = stedi_bytes_steal(&word);
		words[n_words + 1] = NULL;
		if (words[n_words] == NULL)
		{
			stedi_words_free(words);
			no_memory(status);
			return NULL;
		}
		n_words++;
	}
	if (whole && n_words > 0)
		return words;
	stedi_words_free(words);
	stedi_status_set(status, STEDI_BAD_ARGUMENT, whole ? "there is no word" :
					 "a quote is not closed");
	return NULL;
}

/* Append the word at p; returns where it ends. */
static const char *
next_word(const char *p, StediBytes *word, bool *found, bool *whole)
{
	char		quote = '\0';

	while (is_blank(*p) || *p == '\n')
		p++;
	*found = *p != '\0';
	for (; *p; p++)
	{
		if (quote == '\0' && (is_blank(*p) || *p == '\n'))
			break;
		if (quote == '\0' && (*p == '"' || *p == '\''))
			quote = *p;
		else if (quote != '\0' && *p == quote)
			quote = '\0';
		else
		{
			if (*p == '\\' && quote != '\'')
			{
				if (p[1] == '\0')
				{
					*whole = false;
					return p + 1;
				}
				if (quote == '\0' || p[1] == '"' || p[1] == '\\')
					p++;
			}
			stedi_bytes_append_char(word, *p);
		}
	}
	if (quote != '\0')
		*whole = false;
	return p;
}

void
stedi_words_free(char **words)
{
	if (words == NULL)
		return;
	for (size_t i = 0; words[i] != NULL; i++)
		free_text(words[i]);
	free(words);
}
